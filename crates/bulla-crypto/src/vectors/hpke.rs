//! RFC 9180, appendix A, and the vectors of X-Wing's draft.
//!
//! Neither has our suite, whose AEAD is AES-256-GCM. So the RFC's exports prove our second key schedule, and that one says
//! from the published shared secrets what our own contexts must hold.

use super::hex;
use super::schedule::{Context, Suite};
use crate::{
    AeadKey, EntropyFailure, HpkePrivateKey, HpkePublicKey, HpkeSealed, Info, Kem, RandomSource, Secret,
};

struct Rfc9180 {
    aead: u16,
    sender_random: &'static str,
    private_key: &'static str,
    public_key: &'static str,
    encapsulated_key: &'static str,
    shared_secret: &'static str,
    exporter_secret: &'static str,
    exports: [(&'static str, &'static str); 3],
}

const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";

/// Sections A.1.1 and A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, with AES-128-GCM and with ChaCha20Poly1305.
const RFC_9180: [Rfc9180; 2] = [
    Rfc9180 {
        aead: 1,
        sender_random: "7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234",
        private_key: "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
        public_key: "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d",
        encapsulated_key: "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
        shared_secret: "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc",
        exporter_secret: "45ff1c2e220db587171952c0592d5f5ebe103f1561a2614e38f2ffd47e99e3f8",
        exports: [
            ("", "3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee"),
            ("00", "2e8f0b54673c7029649d4eb9d5e33bf1872cf76d623ff164ac185da9e88c21a5"),
            ("54657374436f6e74657874", "e9e43065102c3836401bed8c3c3c75ae46be1639869391d62c61f1ec7af54931"),
        ],
    },
    Rfc9180 {
        aead: 3,
        sender_random: "909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b",
        private_key: "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
        public_key: "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a",
        encapsulated_key: "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
        shared_secret: "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7",
        exporter_secret: "a3b010d4994890e2c6968a36f64470d3c824c8f5029942feb11e7a74b2921922",
        exports: [
            ("", "4bbd6243b8bb54cec311fac9df81841b6fd61f56538a775e7c80a9f40160606e"),
            ("00", "8c1df14732580e5501b00f82b10a1647b40713191b7c1240ac80e2b68808ba69"),
            ("54657374436f6e74657874", "5acb09211139c43b3090489a9da433e8a30ee7188ba8b0a9a1ccf0c229283e53"),
        ],
    },
];

/// R41: both halves of the KEM, and with them export and open, are RFC 9180.
#[test]
fn x25519_is_rfc_9180() {
    let mut exports = 0;
    for vector in &RFC_9180 {
        let shared_secret = hex(vector.shared_secret);
        let theirs = Context::new(Suite { kem: 0x0020, aead: vector.aead }, &shared_secret, &hex(INFO));
        assert_eq!(theirs.exporter_secret, hex(vector.exporter_secret));
        for (context, value) in vector.exports {
            assert_eq!(theirs.export(&hex(context)), hex(value));
            exports += 1;
        }
        let key = HpkePrivateKey::from_seed(Kem::X25519, secret(vector.private_key));
        assert_eq!(key.public_key().as_bytes(), hex(vector.public_key));
        assert!(HpkePublicKey::from_bytes(Kem::X25519, &hex(vector.encapsulated_key)).is_ok());
        agrees(&key, &hex(vector.sender_random), &hex(vector.encapsulated_key), &shared_secret);
    }
    assert_eq!(exports, 6);
}

/// R41: so is X-Wing as its draft has it, with ML-KEM-768 in it.
#[test]
fn x_wing_is_its_draft() {
    let lines: Vec<_> = include_str!("x-wing.txt").lines().skip(1).collect();
    let mut vectors = 0;
    for vector in lines.chunks(5) {
        let [sk, pk, eseed, ct, ss] = ["sk", "pk", "eseed", "ct", "ss"].map(|name| {
            let line = vector.iter().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start()
        });
        let key = HpkePrivateKey::from_seed(Kem::XWing, secret(sk));
        assert_eq!(key.public_key().as_bytes(), hex(pk));
        assert_eq!(HpkePublicKey::from_bytes(Kem::XWing, &hex(pk)).as_ref(), Ok(key.public_key()));
        agrees(&key, &hex(eseed), &hex(ct), &hex(ss));
        vectors += 1;
    }
    assert_eq!(vectors, 3);
}

/// With this key and randomness we make this encapsulated key, and on both sides the context that follows from the shared
/// secret.
fn agrees(key: &HpkePrivateKey, random: &[u8], encapsulated_key: &[u8], shared_secret: &[u8]) {
    let info = Info::raw(hex(INFO));
    let suite = Suite { kem: key.public_key().kem().id(), aead: 2 };
    let expected = Context::new(suite, shared_secret, info.as_bytes());
    for context in [&b""[..], b"\0", b"TestContext"] {
        let found = key.export(&info, encapsulated_key, context).unwrap();
        assert_eq!(found.expose()[..], expected.export(context));
        let (sent, secret) = key.public_key().export_with(&Fixed(random), &info, context).unwrap();
        assert_eq!(sent, encapsulated_key);
        assert!(secret.ct_eq(&found));
    }
    let mut ciphertext = b"Beauty is truth, truth beauty".to_vec();
    let nonce = expected.base_nonce[..].try_into().unwrap();
    let aead = AeadKey::new(&Secret::try_from(&expected.key[..]).unwrap());
    let tag = aead.seal(&nonce, b"Count-0", &mut ciphertext);
    ciphertext.extend_from_slice(&tag);
    let sealed = HpkeSealed { encapsulated_key: encapsulated_key.to_vec(), ciphertext };
    let opened = key.open(&info, b"Count-0", &sealed).unwrap();
    assert_eq!(opened.expose(), b"Beauty is truth, truth beauty");
}

/// The randomness of a published vector, all of it in one draw.
struct Fixed<'a>(&'a [u8]);

impl RandomSource for Fixed<'_> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyFailure> {
        bytes.copy_from_slice(self.0);
        Ok(())
    }
}

fn secret(text: &str) -> Secret<32> {
    Secret::try_from(&hex(text)[..]).unwrap()
}
