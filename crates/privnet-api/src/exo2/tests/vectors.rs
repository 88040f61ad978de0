//! Signatures that Exoscale's own clients have published or made.

use super::*;

/// `requests-exoscale-auth` 1.1.2 signs what python-exoscale sends.
mod python {
    use super::*;

    const CREDENTIAL: &str = "EXOaaaaaaaaaaaaaaaaaaaaaaaa";
    const SECRET: &str = "secretsecretsecretsecretsecretsecretsecret0";
    const EXPIRES: u64 = 1_893_456_000;
    const NETWORK: &str = "/v2/private-network/3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50";
    const INSTANCES: &str = "Vo2YIaSgOTK85V2WeHUnE/01eSyr2PxPnUD5IOoeuHE=";

    #[test]
    fn a_create_with_a_body() {
        let body = br#"{"name": "demo-net", "description": "", "start-ip": "10.0.0.50", "end-ip": "10.0.0.250", "netmask": "255.255.255.0"}"#;
        assert_eq!(body.len(), 116);
        let request = Signable { method: "POST", path: "/v2/private-network", query: "", body };
        signs(request, "", "qdtRCApjFLHI4at5bQOOgXPl4FRo2ejCH6rXd62w3qQ=");
    }

    #[test]
    fn a_get() {
        signs(get(NETWORK), "", "kslpMYUgkJnzaDWsANQf1/saBtrKIYgYm0h6F3PLGFQ=");
    }

    #[test]
    fn an_action_whose_colon_is_not_encoded() {
        let body = br#"{"instance": {"id": "8b2f7c56-0d0b-4b7e-9a44-2f1d6f0c9e11"}, "ip": "10.0.0.10"}"#;
        assert_eq!(body.len(), 79);
        let path = format!("{NETWORK}:attach");
        let request = Signable { method: "PUT", path: &path, query: "", body };
        signs(request, "", "FbSP3DypNBPxHQL06hP2N11akO8oGh7y0FeU5fWKGPo=");
    }

    #[test]
    fn a_get_with_a_query() {
        let request = get("/v2/instance?manager-type=instance-pool&labels=a+b");
        signs(request, "signed-query-args=labels;manager-type,", INSTANCES);
    }

    #[test]
    fn a_delete_without_a_body() {
        let path = format!("{NETWORK}/labels");
        let request = Signable { method: "DELETE", path: &path, query: "", body: b"" };
        signs(request, "", "zGKHTuZ0pt3PZ5q0cS0pOl5a49ycob0Y25hon5eBglM=");
    }

    // What these two add to the query adds nothing to the message, so the signature is the same.

    #[test]
    fn a_name_with_several_values_is_named_and_its_values_are_not_signed() {
        let request = get("/v2/instance?manager-type=instance-pool&labels=a+b&ip=1&ip=2");
        let header = header(CREDENTIAL, "signed-query-args=ip;labels;manager-type,", EXPIRES, INSTANCES);
        assert!(is_by(&header, &key(SECRET), &request));
    }

    #[test]
    fn an_empty_value_counts_as_none() {
        let request = get("/v2/instance?labels=&manager-type=instance-pool&labels=a+b&ip=");
        let header = header(CREDENTIAL, "signed-query-args=labels;manager-type,", EXPIRES, INSTANCES);
        assert!(is_by(&header, &key(SECRET), &request));
    }

    fn signs(request: Signable<'_>, named: &str, signature: &str) {
        check(CREDENTIAL, SECRET, request, EXPIRES, named, signature);
    }
}

/// exoscale/cli, `cmd/internal/x/security_provider_test.go`.
#[test]
fn go_signs_a_get() {
    let credential = format!("EXO{}", "x".repeat(24));
    let signature = "Ntbq/p0HVmA3Zg1HHY+Lq1vjFGi7HeMrrgXDS5jRNlY=";
    check(&credential, &"X".repeat(43), get("/v2/zone"), 3_376_684_800, "", signature);
}

/// exoscale/exoscale-sdk-ts, `test/signing.shared.ts`: paths without /v2.
mod typescript {
    use super::*;

    #[test]
    fn a_get() {
        let request = get("/instance/0b12cb6b-7e3e-4c0e-9e10-1e5d8a7c4b2a");
        signs(request, "", "xdOhvE746GnETaaYoflEK4ucguvSsVJW1fnXZAboV54=");
    }

    #[test]
    fn a_get_with_a_query() {
        let request = get("/instance?labels=web&manager-type=instance-pool");
        signs(request, "signed-query-args=labels;manager-type,", "gVbvdwVNMPtM6KFi0aNOcMfJ6P4kJhgUX/r6KT+mt9k=");
    }

    #[test]
    fn a_value_with_a_space() {
        let request = get("/instance?labels=a%20b");
        signs(request, "signed-query-args=labels,", "c52iAK8YkX82SvWfz2L0NB3ifLH+B4tVwMAhdczd+hA=");
    }

    #[test]
    fn a_post() {
        let body = br#"{"disk-size":10,"name":"foo"}"#;
        let request = Signable { method: "POST", path: "/instance", query: "", body };
        signs(request, "", "ZqEE7tXE57UIydqAXHsqZgGA/UzTft1t9PFFVKvNGtA=");
    }

    fn signs(request: Signable<'_>, named: &str, signature: &str) {
        check("test-key", "0123456789abcdef", request, 1_750_000_000, named, signature);
    }
}

/// Java names nothing of the query and signs none of it. The rest of the request is Python's second.
#[test]
fn what_is_not_named_is_not_signed() {
    let request = get("/v2/private-network/3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50?unsigned=1&unsigned=2");
    let header = header("k", "", 1_893_456_000, "kslpMYUgkJnzaDWsANQf1/saBtrKIYgYm0h6F3PLGFQ=");
    assert!(is_by(&header, &key("secretsecretsecretsecretsecretsecretsecret0"), &request));
}

/// "API Request Signature" in Exoscale's API documentation, which does not tell the secret.
#[test]
fn the_documented_header_is_read() {
    let header = "EXO2-HMAC-SHA256 credential=EXO29147e9f89102b7ac1e88514,signed-query-args=p1;p2,expires=1599140767,signature=2AOBQsbElQb4FpKT/FM/9T4NobjlmZkSGvvdUth/xlY=";
    let parsed = Authorization::parse(header.as_bytes()).expect("a header");
    assert_eq!(parsed.credential(), "EXO29147e9f89102b7ac1e88514");
    assert_eq!(parsed.signed_query_args, ["p1", "p2"]);
    assert_eq!(parsed.expires_unix_s, 1_599_140_767);
}

/// We sign as the client did, and take what it signed.
fn check(credential: &str, secret: &str, request: Signable<'_>, expires: u64, named: &str, signature: &str) {
    let expected = header(credential, named, expires, signature);
    assert_eq!(authorization(credential, &key(secret), &request, expires).expect("signed"), expected);
    assert!(is_by(&expected, &key(secret), &request));
    assert!(!is_by(&expected, &key("another secret"), &request));
}

fn header(credential: &str, named: &str, expires: u64, signature: &str) -> String {
    format!("EXO2-HMAC-SHA256 credential={credential},{named}expires={expires},signature={signature}")
}
