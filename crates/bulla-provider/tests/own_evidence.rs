//! R37, B16, B43: a host that lies about the provider's own quote gets no key out of it, and does not end the service.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::io::Write;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::available_parallelism;

use bulla_attest::{Collateral, CollateralId, CollateralSource, TrustAnchor};
use bulla_protocol::Code;
use bulla_protocol::v1::Statement;
use bulla_provider::Provider;
use bulla_sim::{EnclaveIdentity, TdDescription};
use bulla_tee::sgx::arch::Attributes;
use bulla_tee::{DerivedKey, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, Tee};

use support::{Http, LegacyGuest, Running, Site, Source, connect, enclave_identity, honest, v1_key};

type Lie = Box<dyn Fn(&dyn Tee, &ReportData) -> Result<Evidence, bulla_tee::Error> + Send + Sync>;

/// An enclave whose quotes pass through a host that may lie.
struct Hosted {
    enclave: Arc<dyn Tee>,
    lie: Mutex<Option<Arc<Lie>>>,
}

impl Hosted {
    fn tell(&self, lie: Lie) {
        *self.lie.lock().unwrap() = Some(Arc::new(lie));
    }
}

impl Tee for Hosted {
    fn identity(&self) -> Result<Identity, bulla_tee::Error> {
        self.enclave.identity()
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), bulla_tee::Error> {
        self.enclave.bind(policy)
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, bulla_tee::Error> {
        self.enclave.derive(request)
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, bulla_tee::Error> {
        let lie = self.lie.lock().unwrap().clone();
        match (kind, lie) {
            (EvidenceKind::Quote, Some(lie)) => lie(self.enclave.as_ref(), data),
            // EREPORT is the processor's, and no host is in between.
            _ => self.enclave.attest(data, kind),
        }
    }
}

fn simulated(quote: Vec<u8>) -> Evidence {
    Evidence::Simulated(Box::new(Evidence::SgxQuote(quote)))
}

fn quote(enclave: &dyn Tee, data: &ReportData) -> Vec<u8> {
    enclave.attest(data, EvidenceKind::Quote).unwrap().bytes().to_vec()
}

/// Each way to lie, with what the operator's record calls it.
fn lies(site: &Site) -> Vec<(&'static str, Lie)> {
    let other_data = ReportData::new(bulla_crypto::Role::ProviderKey, &[("nonce", &[1])]);
    let old = quote(site.enclave().as_ref(), &other_data);
    let machine = site.machine();
    let mut lies: Vec<(&'static str, Lie)> = vec![
        ("parse.truncated", Box::new(|_, _| Ok(simulated(b"junk".to_vec())))),
        ("parse.truncated", Box::new(|_, _| Ok(simulated(Vec::new())))),
        ("self.other_report_data", Box::new(move |_, _| Ok(simulated(old.clone())))),
        (
            "quote.signature",
            Box::new(|enclave, data| {
                let mut quote = quote(enclave, data);
                quote[48 + 320] ^= 1;
                Ok(simulated(quote))
            }),
        ),
        ("self.not_an_sgx_quote", Box::new(|enclave, data| Ok(Evidence::SgxQuote(quote(enclave, data))))),
        (
            "self.not_an_sgx_quote",
            Box::new(|enclave, data| {
                Ok(Evidence::Simulated(Box::new(Evidence::SgxReport(quote(enclave, data)))))
            }),
        ),
        (
            "self.not_an_sgx_quote",
            Box::new(move |_, data| {
                Ok(simulated(machine.td_quote(&TdDescription::default_guest(), data.as_bytes()).unwrap()))
            }),
        ),
        (
            "machine.unavailable",
            Box::new(|_, _| {
                Err(bulla_tee::Error::Unavailable { machine: "source of SGX quotes", reason: "EIO".into() })
            }),
        ),
    ];
    let right = enclave_identity();
    for other in [
        EnclaveIdentity { mrenclave: [0x99; 32], ..right.clone() },
        EnclaveIdentity { mrsigner: [0x99; 32], ..right.clone() },
        EnclaveIdentity { isv_prod_id: 9, ..right.clone() },
        EnclaveIdentity { isv_svn: 9, ..right.clone() },
        EnclaveIdentity { attributes: Attributes { xfrm: 7, ..right.attributes }, ..right },
    ] {
        let other = site.machine().enclave(&other).unwrap();
        lies.push(("self.other_identity", Box::new(move |_, data| Ok(simulated(quote(&other, data))))));
    }
    // The same program on another machine quotes what it was itself asked for, and never what we were.
    let foreign = quote(Site::new().enclave().as_ref(), &other_data);
    lies.push(("self.other_report_data", Box::new(move |_, _| Ok(simulated(foreign.clone())))));
    lies
}

fn audit_cause(site: &Site) -> String {
    site.audit().last().unwrap()["cause"].as_str().unwrap_or("released").to_owned()
}

#[test]
fn a_lie_from_the_start_gets_no_key_and_ends_with_the_lie() {
    let site = Site::new();
    let td = TdDescription::default_guest();
    for (cause, lie) in lies(&site) {
        let hosted = Arc::new(Hosted { enclave: site.enclave(), lie: Mutex::new(Some(Arc::new(lie))) });
        let running = site.start_with(hosted.clone());
        let statement = Http::new(running.http).get::<Statement>("/v1/provider");
        assert_eq!(statement.unwrap_err(), Code::SelfEvidenceInvalid, "{cause}");
        assert_eq!(audit_cause(&site), cause);
        assert!(LegacyGuest::new(&site.machine(), &td).key(running.legacy).is_none(), "{cause}");
        *hosted.lie.lock().unwrap() = None;
        honest(&site, running.legacy);
        v1_key(&site.machine(), &td, running.http).unwrap();
    }
}

#[test]
fn a_lie_in_a_legacy_answer_gets_no_key() {
    let site = Site::new();
    let td = TdDescription::default_guest();
    for (cause, lie) in lies(&site) {
        let hosted = Arc::new(Hosted { enclave: site.enclave(), lie: Mutex::new(None) });
        let running = site.start_with(hosted.clone());
        v1_key(&site.machine(), &td, running.http).unwrap();
        hosted.tell(lie);
        assert!(LegacyGuest::new(&site.machine(), &td).key(running.legacy).is_none(), "{cause}");
        *hosted.lie.lock().unwrap() = None;
        honest(&site, running.legacy);
    }
}

/// R53, B43: a quoting service that hangs holds up those whose answers need a quote, and nobody else; when it goes on, so do they.
#[test]
fn a_quoting_service_that_hangs_holds_up_only_who_needs_it() {
    let site = Site::new();
    let td = TdDescription::default_guest();
    let hosted = Arc::new(Hosted { enclave: site.enclave(), lie: Mutex::new(None) });
    let running = site.start_with(hosted.clone());
    honest(&site, running.legacy);
    let (hanging, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(RwLock::new(())));
    let (hangs, passage, closed) = (Arc::clone(&hanging), Arc::clone(&gate), gate.write().unwrap());
    hosted.tell(Box::new(move |enclave, data| {
        hangs.fetch_add(1, Ordering::SeqCst);
        drop(passage.read().unwrap());
        Ok(simulated(quote(enclave, data)))
    }));
    let guest = LegacyGuest::new(&site.machine(), &td);
    // More than there are walks, so that those who hang are all that there is.
    let mut guests: Vec<_> = (0..20).map(|_| connect(running.legacy)).collect();
    guests.iter_mut().for_each(|stream| stream.write_all(&guest.frame()).unwrap());
    while hanging.load(Ordering::SeqCst) < available_parallelism().map_or(1, NonZero::get).min(4) {
        std::thread::yield_now();
    }
    v1_key(&site.machine(), &td, running.http).unwrap();
    Http::new(running.http).get::<Statement>("/v1/provider").unwrap();
    drop(closed);
    for mut stream in guests {
        assert!(support::legacy_exchange(&mut stream, b"").is_some());
    }
}

/// R36: the machine that a legacy answer's quote shows is the one that the guest was compared with.
#[test]
fn a_quote_of_another_machine_is_not_ours() {
    let site = Site::new();
    let td = TdDescription::default_guest();
    let guest = LegacyGuest::new(&site.machine(), &td);
    let hosted = Arc::new(Hosted { enclave: site.enclave(), lie: Mutex::new(None) });
    let running = site.start_with(hosted.clone());
    assert!(guest.key(running.legacy).is_some());
    let other = Site::new();
    let elsewhere = other.enclave();
    hosted.tell(Box::new(move |_, data| Ok(simulated(quote(elsewhere.as_ref(), data)))));
    assert!(guest.key(running.legacy).is_none());
    assert_eq!(audit_cause(&site), "self.other_machine");
}

/// What a source of collateral does.
#[derive(Clone, Copy)]
enum Delivery {
    Right,
    Nothing,
    Tampered,
}

struct Unreliable(Source, Arc<Mutex<Delivery>>);

impl CollateralSource for Unreliable {
    fn collateral(&self, id: &CollateralId) -> Result<Collateral, bulla_attest::Error> {
        let delivery = *self.1.lock().unwrap();
        let right = self.0.collateral(id)?;
        match delivery {
            Delivery::Right => Ok(right),
            Delivery::Nothing => {
                Err(bulla_attest::Error::CollateralUnavailable("the service is down".into()))
            }
            Delivery::Tampered => {
                let json = right.to_json();
                let tampered = json.replacen("OutOfDate", "UpToDate", 1);
                assert_ne!(tampered, json);
                Collateral::from_json(tampered.as_bytes())
            }
        }
    }
}

/// R17, R51: without genuine collateral nothing is judged; what is genuine is used while it is valid, and what is not is not
/// kept.
#[test]
fn without_collateral_there_is_no_key() {
    let site = Site::new();
    let td = TdDescription::default_guest();
    let delivery = Arc::new(Mutex::new(Delivery::Nothing));
    let source = Arc::new(Unreliable(Source(site.machine_dir()), delivery.clone()));
    let anchor = TrustAnchor::from_der(&site.machine().root_der()).unwrap();
    let start = || {
        let provider =
            Provider::start(site.enclave(), source.clone(), anchor.clone(), &site.settings()).unwrap();
        Running::new(provider, &site.settings())
    };
    for bad in [Delivery::Nothing, Delivery::Tampered] {
        *delivery.lock().unwrap() = bad;
        let running = start();
        let statement = Http::new(running.http).get::<Statement>("/v1/provider");
        assert_eq!(statement.unwrap_err(), Code::CollateralUnavailable);
        assert!(LegacyGuest::new(&site.machine(), &td).key(running.legacy).is_none());
    }
    *delivery.lock().unwrap() = Delivery::Right;
    // A service that failed is not asked again at once, so another provider asks.
    let running = start();
    honest(&site, running.legacy);
    *delivery.lock().unwrap() = Delivery::Nothing;
    honest(&site, running.legacy);
    v1_key(&site.machine(), &td, running.http).unwrap();
}
