//! Where an address is, by a table that the operator supplies: a file in MaxMind's format (GeoLite2, DB-IP and
//! others are), whose path is configured. Without one, places are what events say of themselves.
//!
//! It knows files; what a place means is for others.

use std::{net::IpAddr, sync::OnceLock};

use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;

/// Places of addresses. The file is read at the first question.
#[derive(Debug, Default)]
pub struct Geography {
    path: Option<String>,
    table: OnceLock<Reader<Vec<u8>>>,
}

/// Why an address has no place although there is a table.
#[derive(Debug, thiserror::Error)]
#[error("the table of places {path} cannot be read")]
pub struct GeographyError {
    path: String,
    source: MaxMindDbError,
}

/// A place, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Latitude and longitude, in degrees.
    pub position: Option<(f64, f64)>,
}

/// What of an entry is used.
#[derive(Debug, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    country: Country,
    #[serde(default)]
    location: Location,
}

#[derive(Debug, Default, Deserialize)]
struct Country {
    iso_code: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Location {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

impl Geography {
    /// By the table in a file; none knows no place.
    pub fn new(path: Option<String>) -> Self {
        Self {
            path,
            table: OnceLock::new(),
        }
    }

    /// Where an address is. Nothing is known of what is no address, and of addresses that are in no table.
    pub fn place(&self, address: &str) -> Result<Place, GeographyError> {
        let (Some(path), Ok(address)) = (&self.path, address.parse::<IpAddr>()) else {
            return Ok(Place::default());
        };
        let failed = |source| GeographyError {
            path: path.clone(),
            source,
        };
        let table = match self.table.get() {
            Some(table) => table,
            None => {
                let read = Reader::open_readfile(path).map_err(failed)?;
                self.table.get_or_init(|| read)
            }
        };
        let entry: Option<Entry> = table.lookup(address).and_then(|found| found.decode()).map_err(failed)?;
        Ok(entry.map(Place::from).unwrap_or_default())
    }
}

impl From<Entry> for Place {
    fn from(entry: Entry) -> Self {
        Self {
            country: entry.country.iso_code,
            position: entry.location.latitude.zip(entry.location.longitude),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs::File};

    use maxminddb_writer::{Database, metadata::IpVersion, paths::IpAddrWithMask};
    use serde_json::json;

    use super::*;

    /// A table with two networks.
    fn table(folder: &std::path::Path) -> String {
        let mut table = Database::default();
        table.metadata.ip_version = IpVersion::V6;
        table.metadata.binary_format_major_version = 2;
        table.metadata.database_type = "Test".to_owned();
        for (network, entry) in [
            (
                "2001:db8:1::/48",
                json!({"country": {"iso_code": "DE"}, "location": {"latitude": 52.5, "longitude": 13.4}}),
            ),
            ("2001:db8:2::/48", json!({"country": {"iso_code": "AU"}})),
        ] {
            let entry: BTreeMap<String, serde_json::Value> = serde_json::from_value(entry).expect("an entry");
            let entry: BTreeMap<String, BTreeMap<String, Leaf>> = entry
                .into_iter()
                .map(|(name, fields)| (name, serde_json::from_value(fields).expect("fields")))
                .collect();
            let data = table.insert_value(entry).expect("a value");
            table.insert_node(network.parse::<IpAddrWithMask>().expect("a network"), data);
        }
        let path = folder.join("places.mmdb");
        table.write_to(File::create(&path).expect("a file")).expect("written");
        path.display().to_string()
    }

    #[derive(serde::Serialize, Deserialize)]
    #[serde(untagged)]
    enum Leaf {
        Number(f64),
        Text(String),
    }

    #[test]
    fn addresses_are_where_the_table_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Geography::new(Some(table(folder.path())));
        let berlin = places.place("2001:db8:1::7").expect("read");
        assert_eq!(berlin.country.as_deref(), Some("DE"));
        assert_eq!(berlin.position, Some((52.5, 13.4)));
        let australia = places.place("2001:db8:2::7").expect("read");
        assert_eq!((australia.country.as_deref(), australia.position), (Some("AU"), None));
        for unknown in ["2001:db8:3::7", "localhost", ""] {
            assert_eq!(places.place(unknown).expect("read"), Place::default(), "{unknown}");
        }
    }

    #[test]
    fn without_a_table_nothing_is_known_and_a_bad_one_is_told() {
        assert_eq!(
            Geography::new(None).place("192.0.2.1").expect("nothing"),
            Place::default()
        );
        let missing = Geography::new(Some("/nowhere/places.mmdb".to_owned()));
        let error = missing.place("192.0.2.1").expect_err("no file");
        assert!(error.to_string().contains("/nowhere/places.mmdb"));
    }
}
