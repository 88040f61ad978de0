//! What is read, what is not and why, and until when.

use super::*;

/// 32 octets.
const SIGNATURE: &str = "qdtRCApjFLHI4at5bQOOgXPl4FRo2ejCH6rXd62w3qQ=";

fn parse(header: &str) -> Result<Authorization<'_>, HeaderError> {
    Authorization::parse(header.as_bytes())
}

#[test]
fn the_parts_come_in_any_order() {
    let usual = format!("EXO2-HMAC-SHA256 credential=k,signed-query-args=a;b,expires=12,signature={SIGNATURE}");
    let other = format!("exo2-hmac-sha256  signature={SIGNATURE} , expires=12,, signed-query-args=a;b,credential=k");
    assert_eq!(parse(&usual), parse(&other));
    let parsed = parse(&usual).expect("a header");
    assert_eq!((parsed.credential, parsed.expires_unix_s), ("k", 12));
    assert_eq!(parsed.signed_query_args, ["a", "b"]);
}

#[test]
fn an_empty_list_of_arguments_is_as_none() {
    let with = format!("EXO2-HMAC-SHA256 credential=k,signed-query-args=,expires=12,signature={SIGNATURE}");
    let without = format!("EXO2-HMAC-SHA256 credential=k,expires=12,signature={SIGNATURE}");
    assert_eq!(parse(&with), parse(&without));
}

#[test]
fn as_many_arguments_as_there_may_be_are_read() {
    let names: Vec<_> = (0..64).map(|number| format!("a{number}")).collect();
    let names = names.join(";");
    let header = format!("EXO2-HMAC-SHA256 credential=k,signed-query-args={names},expires=12,signature={SIGNATURE}");
    assert_eq!(parse(&header).expect("a header").signed_query_args.len(), 64);
}

#[test]
fn what_is_wrong_is_said() {
    let says = |header: &str, expected: &str| {
        assert_eq!(parse(header).expect_err(header).to_string(), expected);
    };
    says("", "is not of the scheme EXO2-HMAC-SHA256, which is spoken here");
    says("Basic Zm9vOmJhcg==", "is not of the scheme EXO2-HMAC-SHA256, which is spoken here");
    says("EXO2-HMAC-SHA256", "has no credential");
    says("EXO2-HMAC-SHA256 credential", "has a part that is not name=value");
    says(
        "EXO2-HMAC-SHA256 signed-headers=host",
        "has a part that is none of credential, signed-query-args, expires and signature",
    );
    says("EXO2-HMAC-SHA256 credential=k,credential=l", "has credential twice");
    says("EXO2-HMAC-SHA256 credential=,expires=1", "has a credential of 0 octets; 1 to 128 are expected");
    says(
        &format!("EXO2-HMAC-SHA256 credential={}", "k".repeat(129)),
        "has a credential of 129 octets; 1 to 128 are expected",
    );
    says("EXO2-HMAC-SHA256 credential=k,signed-query-args=a;b;;a", "names a query argument twice in signed-query-args");
    says(
        &format!("EXO2-HMAC-SHA256 credential=k,signed-query-args={}", "a;".repeat(65)),
        "names 65 query arguments in signed-query-args; 64 are the most",
    );
    says("EXO2-HMAC-SHA256 credential=k", "has no expires");
    for time in ["", "-1", "+1", "1.5", "0x10", "18446744073709551616"] {
        says(
            &format!("EXO2-HMAC-SHA256 credential=k,expires={time},signature={SIGNATURE}"),
            "has an expires that is not Unix seconds in decimal",
        );
    }
    says("EXO2-HMAC-SHA256 credential=k,expires=1", "has no signature");
    for bad in ["", "?", "qdtR", &SIGNATURE[..43], &SIGNATURE.replace("qdtR", "qdt_"), &SIGNATURE.replace("Q=", "R=")] {
        says(
            &format!("EXO2-HMAC-SHA256 credential=k,expires=1,signature={bad}"),
            "has a signature that is not 32 octets in Base64 with its padding",
        );
    }
    says(&"x".repeat(4097), "has 4097 octets; 4096 are the most");
    assert_eq!(Authorization::parse(b"EXO2-HMAC-SHA256 \xff"), Err(HeaderError::NotUtf8));
}

/// What somebody puts in the wrong place may be a secret, and texts come into logs.
#[test]
fn nothing_of_a_header_is_quoted() {
    for header in ["hunter2", "EXO2-HMAC-SHA256 hunter2", "EXO2-HMAC-SHA256 hunter2=x"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("EXO2-HMAC-SHA256 credential=k,expires=hunter2,signature={SIGNATURE}")])
    {
        let refusal = parse(&header).expect_err("refused").to_string();
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }
}

#[test]
fn a_signature_is_good_until_it_expires_and_for_the_leeway_after() {
    let now_s = NOW.unix_ms / 1000;
    let good = |expires: u64, leeway_s| {
        let header = format!("EXO2-HMAC-SHA256 credential=k,expires={expires},signature={SIGNATURE}");
        parse(&header).expect("a header").check_expiry(NOW, Duration::from_secs(leeway_s)).is_ok()
    };
    assert_eq!([now_s - 1, now_s, now_s + 1].map(|expires| good(expires, 0)), [false, true, true]);
    assert_eq!([now_s - 61, now_s - 60].map(|expires| good(expires, 60)), [false, true]);
    assert!(!good(0, 60));
}

#[test]
fn an_expired_signature_is_told_until_when_it_was_good() {
    let header = format!("EXO2-HMAC-SHA256 credential=k,expires=1599140767,signature={SIGNATURE}");
    let expired = parse(&header).expect("a header").check_expiry(NOW, Duration::from_secs(60)).expect_err("long ago");
    assert_eq!(
        expired.to_string(),
        "the signature has expired: it was good until 1599140767, and the server's clock says 1790000000 (Unix \
         seconds); sign the request again, and look at the clocks of both if this happens with new signatures"
    );
}

#[test]
fn a_signature_is_good_for_a_day_at_most() {
    let refusal = |expires: u64| {
        let header = format!("EXO2-HMAC-SHA256 credential=k,expires={expires},signature={SIGNATURE}");
        parse(&header)
            .expect("a header")
            .check_expiry(NOW, Duration::from_secs(60))
            .err()
            .map(|error| error.to_string())
    };
    let latest = NOW.unix_ms / 1000 + 86_400;
    assert_eq!(refusal(latest), None);
    assert_eq!(
        refusal(latest + 1).as_deref(),
        Some(
            "the signature expires too late: it would be good until 1790086401, 24 hours at most are accepted, and the \
             server's clock says 1790000000 (Unix seconds); sign with an earlier expiry, such as ten minutes ahead, and \
             look at the clocks of both if it is"
        )
    );
    assert!(refusal(u64::MAX).is_some());
}
