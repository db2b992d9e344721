//! Addresses.

use metering_domain::address::{is_email, is_phone};

#[test]
fn mail_addresses() {
    let label = "x".repeat(63);
    let long = |local: usize| format!("{}@{label}.{label}.{}.de", "l".repeat(local), "y".repeat(57));
    for good in [
        "a@example.com",
        "first.last+tag@sub.example-mail.co.uk",
        "o'neill@xn--bcher-kva.example",
        &long(64),
    ] {
        assert!(is_email(good), "{good}");
    }
    assert_eq!(long(64).len(), 253);
    for bad in [
        "",
        "a",
        "@example.com",
        "a@",
        "a@localhost",
        "a@@example.com",
        "a@b@example.com",
        "a b@example.com",
        "a@exam ple.com",
        "a@example.com\r\nBcc: b@example.com",
        "Name <a@example.com>",
        "<a@example.com>",
        "\"a\"@example.com",
        "a@[192.0.2.1]",
        "a@example..com",
        "a@.example.com",
        "a@example.com.",
        "a@-example.com",
        "a@example-.com",
        ".a@example.com",
        "a.@example.com",
        "a..b@example.com",
        "ä@example.com",
        "a@exämple.com",
        "a@example.com,b@example.com",
        &long(65),
        &format!("a@{}.com", "x".repeat(64)),
        &format!("{}@{label}.{label}.{}.example", "l".repeat(64), "y".repeat(60)),
    ] {
        assert!(!is_email(bad), "{bad}");
    }
}

#[test]
fn phone_numbers() {
    for good in ["+1234567", "+4930123456", "+123456789012345"] {
        assert!(is_phone(good), "{good}");
    }
    for bad in [
        "",
        "+",
        "4930123456",
        "004930123456",
        "+123456",
        "+1234567890123456",
        "+0301234567",
        "+49 30 123456",
        "+49-30-123456",
        "+4930123a56",
        "++4930123456",
        "+4930123456;ext=1",
        "+٤٩٣٠١٢٣٤٥٦",
    ] {
        assert!(!is_phone(bad), "{bad}");
    }
}
