//! Quantities and money: exact decimals, read from the text of a JSON number and never through a float.

use std::{fmt, ops::Deref, str::FromStr};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

/// An exact decimal: a quantity, a price, a ratio. The service takes at most 9 decimals and a
/// magnitude of 10^12 for what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity(pub Decimal);

impl Quantity {
    /// One.
    pub const ONE: Self = Self(Decimal::ONE);

    /// So many gigabytes (10^9 bytes) as these bytes are, exactly.
    pub fn gigabytes(bytes: u64) -> Self {
        // Below 10^28 for every u64: there is always room for nine places.
        Self(Decimal::from_i128_with_scale(i128::from(bytes), 9).normalize())
    }
}

impl Deref for Quantity {
    type Target = Decimal;

    fn deref(&self) -> &Decimal {
        &self.0
    }
}

macro_rules! from {
    ($($integer:ty),+) => {$(
        impl From<$integer> for Quantity {
            fn from(number: $integer) -> Self {
                Self(Decimal::from(number))
            }
        }
    )+};
}
from!(i32, i64, u32, u64, usize);

impl From<Decimal> for Quantity {
    fn from(number: Decimal) -> Self {
        Self(number)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.normalize())
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = RawValue::from_string(self.to_string()).map_err(S::Error::custom)?;
        number.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get().trim_matches('"');
        let read = if text.contains(['e', 'E']) {
            Decimal::from_scientific(text)
        } else {
            Decimal::from_str(text)
        };
        read.map(Self)
            .map_err(|_| D::Error::custom(format_args!("{text} is no decimal")))
    }
}
