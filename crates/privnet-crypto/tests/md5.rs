//! MD5, of lengths on both sides of every end of a block.

use privnet_crypto::md5;

/// The octets 0, 1, 2 and so on; the digests are those of Python's hashlib.
#[test]
fn all_lengths_around_the_ends_of_blocks() {
    for (length, expected) in [
        (0, "d41d8cd98f00b204e9800998ecf8427e"),
        (55, "6912ee65fff2d9f9ce2508cddf8bcda0"),
        (56, "51fdd1acda72405dfdfa03fcb85896d7"),
        (63, "48a6295221902e8e0938f773a7185e72"),
        (64, "b2d3f56bc197fd985d5965079b5e7148"),
        (65, "8bd7053801c768420faf816fadba971c"),
        (127, "8402b21e7bc7906493bae0dac017f1f9"),
        (128, "37eff01866ba3f538421b30b7cbefcac"),
    ] {
        assert_eq!(hex(&counted(length)), expected, "{length} octets");
    }
    let all: Vec<u8> = (0..=130).flat_map(|length| md5(&counted(length)).expect("a digest")).collect();
    assert_eq!(hex(&all), "948a4ea64101794d6716d23b5585c2f6", "of the digests of all lengths to 130");
}

fn counted(length: u8) -> Vec<u8> {
    (0..length).collect()
}

fn hex(octets: &[u8]) -> String {
    md5(octets).expect("a digest").map(|octet| format!("{octet:02x}")).concat()
}
