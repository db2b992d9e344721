//! The tables of the requirements, term by term, and what an override leaves alone.

use metering_domain::{
    ids::is_metric_type,
    metric::{self, Kind, Mode},
    plan::{self, Override, QuotaTerms},
};
use rust_decimal::Decimal;

use crate::dec;

#[test]
fn built_in_plans_are_those_of_the_requirements() {
    // Plan, metric: limit, price, block, overage limit; an empty price: no overage allowed.
    let tables = [
        ("basic", "document_processing", "100", "0.5", None, "50"),
        ("basic", "api_calls", "1000", "0.01", Some("10"), "500"),
        ("basic", "storage_usage", "5", "2", None, "2"),
        ("basic", "user_sessions", "3", "", None, ""),
        ("professional", "document_processing", "500", "0.4", None, "200"),
        ("professional", "api_calls", "10000", "0.008", Some("10"), "5000"),
        ("professional", "storage_usage", "50", "1.5", None, "20"),
        ("professional", "user_sessions", "10", "5", None, "5"),
        ("enterprise", "document_processing", "5000", "0.3", None, "2000"),
        ("enterprise", "api_calls", "100000", "0.005", Some("10"), "50000"),
        ("enterprise", "storage_usage", "500", "1", None, "200"),
        ("enterprise", "user_sessions", "100", "4", None, "50"),
    ];
    for (id, metric, limit, price, block, overage_limit) in tables {
        let some = |text: &str| (!text.is_empty()).then(|| dec(text));
        let expected = QuotaTerms {
            quota_limit: some(limit),
            allow_overage: !price.is_empty(),
            overage_price: some(price),
            block_size: block.map(dec),
            overage_limit: some(overage_limit),
        };
        let plan = plan::find_built_in(id).expect("a built-in plan");
        assert_eq!(plan.terms(metric), expected, "{id} {metric}");
        assert_eq!((plan.quotas.len(), plan.version, plan.currency.as_str()), (4, 1, "EUR"));
        assert_eq!(plan.terms("ocr_operations"), QuotaTerms::default());
    }
    assert_eq!(plan::built_in().len(), 3);
    assert_eq!(plan::find_built_in("gold"), None);
}

#[test]
fn a_plan_is_written_as_the_contract_prints_it() {
    let plan = plan::find_built_in("basic").expect("a built-in plan");
    let json = serde_json::to_string(plan).expect("JSON");
    let printed = r#""document_processing":{"quota_limit":100,"allow_overage":true,"overage_price":0.5,"block_size":null,"overage_limit":50}"#;
    assert!(
        json.starts_with(r#"{"id":"basic","name":"Basic","currency":"EUR","version":1,"quotas":{"#),
        "{json}"
    );
    assert!(json.contains(printed), "{json}");
}

#[test]
fn an_override_replaces_only_what_it_names() {
    let terms = plan::find_built_in("basic")
        .expect("a built-in plan")
        .terms("api_calls");
    assert_eq!(Override::default().apply(&terms), terms);
    let unlimited = Override {
        quota_limit: Some(None),
        ..Override::default()
    };
    assert_eq!(
        unlimited.apply(&terms),
        QuotaTerms {
            quota_limit: None,
            ..terms.clone()
        }
    );
    let all = Override {
        quota_limit: Some(Some(Decimal::ONE)),
        allow_overage: Some(false),
        overage_limit: Some(None),
        overage_price: Some(Some(Decimal::TWO)),
        block_size: Some(None),
    };
    let expected = QuotaTerms {
        quota_limit: Some(Decimal::ONE),
        allow_overage: false,
        overage_price: Some(Decimal::TWO),
        block_size: None,
        overage_limit: None,
    };
    assert_eq!(all.apply(&terms), expected);
}

#[test]
fn built_in_metrics_are_those_of_the_semantics() {
    let kinds = [
        ("document_processing", Kind::Sum, "documents"),
        ("document_pages", Kind::Sum, "pages"),
        ("api_calls", Kind::Sum, "calls"),
        ("storage_usage", Kind::Gauge, "GB"),
        ("user_sessions", Kind::Lease, "concurrent users"),
        ("batch_operations", Kind::Sum, "jobs"),
        ("export_operations", Kind::Sum, "exports"),
        ("ocr_operations", Kind::Sum, "operations"),
        ("llm_operations", Kind::Sum, "operations"),
        ("database_queries", Kind::Sum, "queries"),
        ("bandwidth_usage", Kind::Sum, "GB"),
    ];
    assert_eq!(metric::built_in().len(), kinds.len());
    for (name, kind, unit) in kinds {
        let metric = metric::find_built_in(name).expect("a built-in metric");
        assert_eq!(
            (metric.kind, metric.unit.as_str(), metric.built_in),
            (kind, unit, true),
            "{name}"
        );
        assert!(is_metric_type(name));
        assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        assert_eq!(
            serde_json::to_string(&kind).expect("JSON"),
            format!("\"{}\"", kind.as_str())
        );
    }
    for mode in [Mode::Level, Mode::Delta] {
        assert_eq!(Mode::parse(mode.as_str()), Some(mode));
        assert_eq!(
            serde_json::to_string(&mode).expect("JSON"),
            format!("\"{}\"", mode.as_str())
        );
    }
    assert_eq!((Kind::parse("Sum"), Mode::parse("")), (None, None));
    assert_eq!(metric::find_built_in("gold"), None);
}
