//! Addresses that messages to people go to: whether a text is one, not whether somebody is there.

/// The longest mail address (RFC 5321, section 4.5.3.1.3: a path of 256 octets with its brackets).
pub const EMAIL_CHARS_MAX: usize = 254;
/// The longest part before the `@` (RFC 5321, section 4.5.3.1.1).
const LOCAL_CHARS_MAX: usize = 64;
/// The longest label of a domain name (RFC 1035, section 2.3.4).
const LABEL_CHARS_MAX: usize = 63;

/// Whether it is a mail address: a dot-atom (RFC 5322, section 3.2.3), `@` and a domain name with a
/// dot, all of it ASCII. Quoted local parts and address literals are valid mail and refused here:
/// what looks like one is a mistake, or an attempt at something else.
pub fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    text.len() <= EMAIL_CHARS_MAX
        && local.len() <= LOCAL_CHARS_MAX
        && local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_text))
        && domain.contains('.')
        && domain.split('.').all(is_label)
}

fn is_atom_text(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_CHARS_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether it is a phone number in the international form of E.164: `+`, a country code, which does
/// not begin with 0, and the rest; 7 to 15 digits in all.
pub fn is_phone(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
    })
}
