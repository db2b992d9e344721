//! Makes findings of evidence: what follows each other is one, and what agrees weighs more.
//!
//! Points are taken for independent chances that something is wrong: together they come to
//! 100 − (100 − a)(100 − b) ÷ 100. What another method says of the same time counts half. Each reason's points are
//! what it adds, heaviest first, so that they sum up to the risk.

#![expect(clippy::float_arithmetic, reason = "statistics of anomalies, never quantities")]

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::{AnomalyType, Bucket, Evidence, Finding, Grain, Method, Reason, Usage};
use crate::period::Period;

/// What another method says counts so much of what it says itself.
const AGREEMENT_SHARE: f64 = 0.5;
const EXPECTED_PLACES: u32 = 9;
const CONFIDENCE_PLACES: u32 = 4;

/// Evidence of one type over hours or days that follow each other.
struct Group {
    evidence: Vec<Evidence>,
    window: Period,
}

/// What was found, oldest first. A day says nothing that one of its hours says already.
pub(super) fn findings(usage: &Usage, evidence: Vec<Evidence>) -> Vec<Finding> {
    let groups = groups(usage, evidence);
    let kept = |group: &&Group| {
        let first = &group.evidence[0];
        let says_the_same = |other: &Group| {
            let hour = &other.evidence[0];
            hour.grain == Grain::Hour
                && hour.anomaly_type == first.anomaly_type
                && overlaps(&other.window, &group.window)
        };
        first.grain == Grain::Hour || !groups.iter().any(says_the_same)
    };
    let mut findings: Vec<Finding> = groups
        .iter()
        .filter(kept)
        .map(|group| finding(usage, group, &groups))
        .collect();
    findings.sort_by_key(|finding| (finding.window.start, finding.anomaly_type, finding.window.end));
    findings
}

fn overlaps(one: &Period, other: &Period) -> bool {
    one.start < other.end && other.start < one.end
}

fn series(usage: &Usage, grain: Grain) -> &[Bucket] {
    match grain {
        Grain::Hour => &usage.hours,
        Grain::Day => &usage.days,
    }
}

fn groups(usage: &Usage, evidence: Vec<Evidence>) -> Vec<Group> {
    let mut by_kind: BTreeMap<(Grain, AnomalyType), Vec<Evidence>> = BTreeMap::new();
    for one in evidence {
        by_kind.entry((one.grain, one.anomaly_type)).or_default().push(one);
    }
    let mut groups: Vec<Group> = Vec::new();
    for ((grain, _), mut all) in by_kind {
        all.sort_by_key(|one| one.index);
        let buckets = series(usage, grain);
        let mut last: Option<usize> = None;
        for one in all {
            let period = buckets[one.index].period;
            let follows = last.is_some_and(|last| one.index <= last + 1);
            last = Some(one.index);
            match groups.last_mut().filter(|_| follows) {
                Some(group) => {
                    group.window.end = period.end;
                    group.evidence.push(one);
                }
                None => groups.push(Group {
                    evidence: vec![one],
                    window: period,
                }),
            }
        }
    }
    groups
}

/// The finding of a group; its numbers are those of its heaviest evidence.
fn finding(usage: &Usage, group: &Group, groups: &[Group]) -> Finding {
    let mut heaviest: Vec<&Evidence> = group.evidence.iter().collect();
    heaviest.sort_by(|one, other| other.points.total_cmp(&one.points));
    let peak = heaviest[0];
    // Of each code the heaviest.
    let mut weights: Vec<(&str, String, f64, f64)> = Vec::new();
    for one in &heaviest {
        if weights.iter().all(|(code, ..)| *code != one.code) {
            weights.push((one.code, one.detail.clone(), one.points, one.confidence));
        }
    }
    for method in Method::ALL.iter().filter(|method| **method != peak.method) {
        let agreeing = groups
            .iter()
            .filter(|other| overlaps(&other.window, &group.window))
            .flat_map(|other| &other.evidence)
            .filter(|one| one.method == *method)
            .max_by(|one, other| one.points.total_cmp(&other.points));
        if let Some(one) = agreeing {
            let detail = format!("{} finds it, too: {}", method.as_str(), one.detail);
            let (points, confidence) = (AGREEMENT_SHARE * one.points, AGREEMENT_SHARE * one.confidence);
            weights.push(("agreement", detail, points, confidence));
        }
    }
    let (risk, reasons) = reasons(&weights);
    let unsure: f64 = weights.iter().map(|(.., confidence)| 1.0 - confidence).product();
    Finding {
        anomaly_type: peak.anomaly_type,
        method: peak.method,
        window: group.window,
        is_daily: peak.grain == Grain::Day,
        observed: series(usage, peak.grain)[peak.index].value,
        expected: decimal(peak.expected, EXPECTED_PLACES),
        expected_lower: decimal(peak.lower, EXPECTED_PLACES),
        expected_upper: decimal(peak.upper, EXPECTED_PLACES),
        confidence: decimal((1.0 - unsure).clamp(0.0, 1.0), CONFIDENCE_PLACES),
        risk,
        reasons,
    }
}

fn reasons(weights: &[(&str, String, f64, f64)]) -> (u8, Vec<Reason>) {
    let (mut safe, mut risk) = (1.0, 0);
    let mut reasons = Vec::new();
    for (code, detail, points, _) in weights {
        safe *= 1.0 - points / 100.0;
        let next = percent(100.0 * (1.0 - safe));
        reasons.push(Reason {
            code: (*code).to_owned(),
            detail: detail.clone(),
            points: next - risk,
        });
        risk = next;
    }
    (risk, reasons)
}

/// The nearest whole number from 0 to 100.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is rounded and lies between 0 and 100"
)]
fn percent(value: f64) -> u8 {
    value.round().clamp(0.0, 100.0) as u8
}

fn decimal(value: f64, places: u32) -> Decimal {
    // Beyond 7.9·10^28 no quantity lies.
    Decimal::try_from(value)
        .unwrap_or(Decimal::MAX)
        .round_dp(places)
        .normalize()
}
