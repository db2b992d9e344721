//! Where a user is seen: countries that are new, and journeys that nobody makes.
//!
//! Must not know how an address becomes a place. Such tables disagree with each other: this is weak evidence.

#![expect(clippy::float_arithmetic, reason = "statistics of anomalies, never quantities")]

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::HISTORY_MIN;

/// Faster than an airliner.
const SPEED_KMH_MAX: f64 = 1_000.0;
/// Nearer than this is no journey: places of addresses are off by as much.
const DISTANCE_KM_MIN: f64 = 500.0;
/// The mean radius of the Earth (IUGG).
const EARTH_KM: f64 = 6_371.009;

/// A user at a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// When.
    pub at: DateTime<Utc>,
    /// In which country (ISO 3166-1 alpha-2), if that is known.
    pub country: Option<String>,
    /// Latitude and longitude in degrees, if they are known.
    pub position: Option<(f64, f64)>,
}

/// What is odd about a place.
pub(super) struct Oddity {
    pub at: DateTime<Utc>,
    pub code: &'static str,
    pub detail: String,
    pub points: f64,
    pub confidence: f64,
}

/// Countries that were not seen before, once ten sightings say which are usual, and impossible journeys.
pub(super) fn look(sightings: &[Sighting]) -> Vec<Oddity> {
    let (mut countries, mut known, mut found) = (BTreeSet::new(), 0, Vec::new());
    let mut last: Option<(DateTime<Utc>, (f64, f64))> = None;
    for sighting in sightings {
        if let Some(country) = &sighting.country {
            if countries.insert(country) && known >= HISTORY_MIN {
                found.push(Oddity {
                    at: sighting.at,
                    code: "new_country",
                    detail: format!("first seen in {country}"),
                    points: 40.0,
                    confidence: 0.5,
                });
            }
            known += 1;
        }
        if let Some(position) = sighting.position {
            found.extend(last.and_then(|before| journey(before, (sighting.at, position))));
            last = Some((sighting.at, position));
        }
    }
    found
}

/// A journey that nobody makes.
fn journey(from: (DateTime<Utc>, (f64, f64)), to: (DateTime<Utc>, (f64, f64))) -> Option<Oddity> {
    let distance = distance_km(from.1, to.1);
    let hours = (to.0 - from.0).as_seconds_f64() / 3_600.0;
    (distance >= DISTANCE_KM_MIN && distance > SPEED_KMH_MAX * hours).then(|| Oddity {
        at: to.0,
        code: "impossible_travel",
        detail: format!("{distance:.0} km in {:.0} minutes", hours * 60.0),
        points: 60.0,
        confidence: 0.7,
    })
}

/// Along a great circle (haversine).
fn distance_km(one: (f64, f64), other: (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let across = one.0.to_radians().cos() * other.0.to_radians().cos() * half(one.1, other.1);
    2.0 * EARTH_KM * (half(one.0, other.0) + across).clamp(0.0, 1.0).sqrt().asin()
}
