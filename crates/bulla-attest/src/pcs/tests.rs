use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bulla_crypto::SecretBytes;
use bulla_sim::{Edition, Machine, TeeType};
use bulla_tee::SnpTcb;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tempfile::TempDir;

use super::fetch::Fetcher;
use super::settings::Reach;
use super::transport::{Answer, Http, Pace, Question, Transport, Trouble};
use super::{Channel, KdsClient, PcsClient, PcsSettings};
use crate::{
    AmdCollateralId, AmdProduct, Collateral, CollateralId, CollateralSource, Error, IntelCollateralId, PckCa,
    ServiceFault, SnpSigner, TeeKind, TrustAnchor, Verifier,
};

const NOW: u64 = 1_800_000_000;
const BASE: &str = "https://pcs.test";
const ROOT_CRL: &str = "https://crl.test/root.der";

fn code<T>(result: Result<T, Error>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

/// A simulated vendor's set, and the means to serve it in every way that real services have.
struct Vendor {
    _dir: TempDir,
    machine: Machine,
    set: Value,
}

/// How a service writes its answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Intel,
    Cache30,
    Cache31,
    Pem,
    PlusForSpace,
}

impl Vendor {
    fn new() -> Self {
        Self::of(TeeType::Tdx)
    }

    fn of(tee: TeeType) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::create(dir.path().join("machine")).unwrap();
        let set = machine.collateral_of(tee, Edition::Standard, NOW).unwrap();
        Self { _dir: dir, machine, set: serde_json::from_str(&set).unwrap() }
    }

    fn text(&self, name: &str) -> &str {
        self.set[name].as_str().unwrap()
    }

    fn id(&self) -> CollateralId {
        self.collateral().intel_id().unwrap()
    }

    fn collateral(&self) -> Collateral {
        Collateral::from_json(self.set.to_string().as_bytes()).unwrap()
    }

    /// The answers to a whole fetch, in the order of asking.
    fn answers(&self, style: Style) -> Vec<Answer> {
        let chain = |name: &str| encode(self.text(name), style);
        let signed = |name: &str, document: &str| {
            format!(
                r#"{{"{name}":{},"signature":"{}"}}"#,
                self.text(document),
                self.text(&format!("{document}_signature"))
            )
        };
        let crl = |name: &str| match style {
            Style::Cache30 => self.text(name).to_uppercase().into_bytes(),
            Style::Pem => {
                pem::encode(&pem::Pem::new("X509 CRL", hex::decode(self.text(name)).unwrap())).into_bytes()
            }
            _ => hex::decode(self.text(name)).unwrap(),
        };
        let tcb_header =
            if style == Style::Cache30 { "sgx-tcb-info-issuer-chain" } else { "tcb-info-issuer-chain" };
        vec![
            ok(signed("tcbInfo", "tcb_info")).with(tcb_header, chain("tcb_info_issuer_chain")),
            ok(signed("enclaveIdentity", "qe_identity"))
                .with("sgx-enclave-identity-issuer-chain", chain("qe_identity_issuer_chain")),
            ok(crl("pck_crl")).with("sgx-pck-crl-issuer-chain", chain("pck_crl_issuer_chain")),
            // A PCCS has digits for the root's list whatever it has for others.
            ok(if style == Style::Cache31 {
                self.text("root_ca_crl").as_bytes().to_vec()
            } else {
                crl("root_ca_crl")
            }),
        ]
    }
}

fn encode(pem: &str, style: Style) -> String {
    let encoded = percent_encoding::utf8_percent_encode(pem, percent_encoding::NON_ALPHANUMERIC).to_string();
    if style == Style::PlusForSpace { encoded.replace("%20", "+") } else { encoded }
}

fn ok(body: impl Into<Vec<u8>>) -> Answer {
    Answer { status: 200, headers: Vec::new(), body: body.into() }
}

fn status(status: u16) -> Answer {
    Answer { status, ..ok("") }
}

impl Answer {
    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Answers what it was told to, in order, and keeps what it was asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Result<Answer, Trouble>>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    slept: Arc<Mutex<Vec<u64>>>,
}

#[derive(Clone)]
struct Asked {
    url: String,
    headers: Vec<(String, String)>,
    limit: usize,
    timeout: Duration,
}

impl Script {
    fn of(answers: impl IntoIterator<Item = Answer>) -> Self {
        let script = Self::default();
        script.answers.lock().unwrap().extend(answers.into_iter().map(Ok));
        script
    }

    fn fetcher(&self) -> Fetcher {
        Fetcher::over(Box::new(self.clone()), Box::new(self.clone()), Duration::from_secs(30))
    }

    fn client(&self, settings: PcsSettings) -> PcsClient {
        PcsClient::over(settings, self.fetcher())
    }

    fn urls(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|asked| asked.url.clone()).collect()
    }

    fn slept(&self) -> Vec<u64> {
        self.slept.lock().unwrap().clone()
    }
}

impl Transport for Script {
    fn get(&self, question: &Question<'_>) -> Result<Answer, Trouble> {
        let headers =
            question.headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let Question { url, limit, timeout, .. } = *question;
        self.asked.lock().unwrap().push(Asked { url: url.into(), headers, limit, timeout });
        match self.answers.lock().unwrap().pop_front().expect("one more question than answers") {
            Ok(answer) if answer.body.len() > limit => Err(Trouble::TooLarge(limit)),
            answer => answer,
        }
    }
}

/// Time passes only by sleeping.
impl Pace for Script {
    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.slept().iter().sum())
    }

    fn sleep(&self, time: Duration) {
        assert_eq!(time.subsec_nanos(), 0);
        self.slept.lock().unwrap().push(time.as_secs());
    }
}

fn settings() -> PcsSettings {
    PcsSettings::service(BASE, ROOT_CRL).unwrap()
}

/// The outcome of a fetch in which one answer is another.
fn with_answer(index: usize, answer: Answer) -> Result<Collateral, Error> {
    let vendor = Vendor::new();
    let mut answers = vendor.answers(Style::Intel);
    answers[index] = answer;
    Script::of(answers).client(settings()).collateral(&vendor.id())
}

#[test]
fn every_way_of_writing_gives_the_same_set_and_it_verifies() {
    let vendor = Vendor::new();
    let verifier = Verifier::new(TrustAnchor::from_der(&vendor.machine.root_der()).unwrap());
    for style in [Style::Intel, Style::Cache30, Style::Cache31, Style::Pem, Style::PlusForSpace] {
        let script = Script::of(vendor.answers(style));
        let set = script.client(settings()).collateral(&vendor.id()).unwrap();
        assert!(set == vendor.collateral());
        verifier.check_collateral(&vendor.id(), &set, NOW).unwrap();
    }
}

#[test]
fn r19_a_document_is_cut_out_as_it_was_signed() {
    let vendor = Vendor::new();
    let mut answers = vendor.answers(Style::Intel);
    let odd = r#"{ "id" : "TDX",  "version":3.0, "x":"\u0041é",
        "a":[1e400] }"#;
    answers[0].body = format!(" {{\n\"signature\" : \"00ff\",\t\"tcbInfo\" :{odd}  }}\n").into_bytes();
    let set = Script::of(answers).client(settings()).collateral(&vendor.id()).unwrap();
    assert_eq!(set.items().unwrap().tcb_info, odd);
    assert_eq!(set.items().unwrap().tcb_info_signature, [0, 0xff]);
}

#[test]
fn questions_are_those_of_the_api() {
    let vendor = Vendor::of(TeeType::Sgx);
    let CollateralId::Intel(id) = vendor.id() else { panic!("a quote's") };
    let fmspc = hex::encode_upper(id.fmspc);
    let ask = |settings: PcsSettings| {
        let script = Script::of(vendor.answers(Style::Intel));
        script.client(settings).collateral(&vendor.id()).unwrap();
        script.urls()
    };
    assert_eq!(
        ask(PcsSettings::intel()),
        [
            format!("https://api.trustedservices.intel.com/sgx/certification/v4/tcb?fmspc={fmspc}"),
            "https://api.trustedservices.intel.com/sgx/certification/v4/qe/identity".into(),
            "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
                .into(),
            "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der".into(),
        ]
    );
    let early = ask(PcsSettings::pccs("https://localhost:8081/sgx/certification/v4/")
        .unwrap()
        .with_channel(Channel::Early));
    assert_eq!(
        early[0],
        format!("https://localhost:8081/sgx/certification/v4/tcb?fmspc={fmspc}&update=early")
    );
    assert_eq!(early[1], "https://localhost:8081/sgx/certification/v4/qe/identity?update=early");
    assert_eq!(early[3], "https://localhost:8081/sgx/certification/v4/rootcacrl");
    let pinned = ask(settings().with_channel(Channel::Number(20)));
    assert_eq!(
        pinned[0],
        format!("{BASE}/sgx/certification/v4/tcb?fmspc={fmspc}&tcbEvaluationDataNumber=20")
    );
    assert_eq!(pinned[1], format!("{BASE}/sgx/certification/v4/qe/identity?tcbEvaluationDataNumber=20"));

    let vendor = Vendor::new();
    let CollateralId::Intel(id) = vendor.id() else { panic!("a quote's") };
    let script = Script::of(vendor.answers(Style::Intel));
    let client = script.client(settings());
    client
        .collateral(&CollateralId::Intel(IntelCollateralId { ca: PckCa::Processor, tee: TeeKind::Tdx, ..id }))
        .unwrap();
    assert!(script.urls()[0].starts_with(&format!("{BASE}/tdx/certification/v4/tcb?")));
    assert!(script.urls()[2].contains("/sgx/certification/v4/pckcrl?ca=processor"));
}

#[test]
fn a_subscription_key_goes_to_the_service_and_nowhere_else() {
    let vendor = Vendor::new();
    let script = Script::of(vendor.answers(Style::Intel));
    let settings = settings().with_subscription_key(SecretBytes::new(b"k3y".to_vec())).unwrap();
    assert!(!format!("{settings:?}").contains("k3y"));
    script.client(settings).collateral(&vendor.id()).unwrap();
    let asked = script.asked.lock().unwrap().clone();
    let key = ("Ocp-Apim-Subscription-Key".to_owned(), "k3y".to_owned());
    assert!(asked[..3].iter().all(|asked| asked.headers == [key.clone()]));
    assert!(asked[3].headers.is_empty(), "the root CRL is on another host");
    for bad in [&b""[..], b"a b", b"a\r\nX: y"] {
        assert_eq!(
            code(PcsSettings::intel().with_subscription_key(SecretBytes::new(bad.to_vec()))),
            "usage.collateral"
        );
    }
}

#[test]
fn b42_each_status_has_its_reason() {
    for (found, wanted) in [
        (301, "collateral.service.redirect"),
        (302, "collateral.service.redirect"),
        (308, "collateral.service.redirect"),
        (400, "collateral.service.failed"),
        (401, "collateral.service.denied"),
        (403, "collateral.service.denied"),
        (404, "collateral.service.unknown_platform"),
        (410, "collateral.service.retired"),
        (460, "collateral.service.failed"),
        (461, "collateral.service.unknown_platform"),
        (462, "collateral.service.unknown_platform"),
        (500, "collateral.service.failed"),
        (502, "collateral.service.failed"),
        (204, "collateral.service.failed"),
    ] {
        for index in 0..4 {
            assert_eq!(code(with_answer(index, status(found))), wanted, "{found} {index}");
        }
    }
    let retired = with_answer(0, status(410)).unwrap_err();
    assert!(retired.to_string().contains("raise the minimum"), "{retired}");
    assert_eq!(retired.class(), bulla_crypto::Class::TooOld);
    let named = with_answer(
        0,
        status(400)
            .with("error-code", "Bad")
            .with("error-message", "no\u{1b}[31m\r\nway")
            .with("request-id", "7"),
    );
    let text = named.unwrap_err().to_string();
    assert!(text.contains("\"Bad\"") && text.contains("no?[31m??way") && text.contains("TCB info"), "{text}");
    assert!(!text.contains("fmspc"), "without the parameters: {text}");
}

#[test]
fn r51_a_busy_service_is_asked_again_within_the_deadline() {
    let vendor = Vendor::new();
    let fetch = |busy: Vec<Answer>| {
        let mut answers = vendor.answers(Style::Intel);
        answers.splice(0..0, busy);
        let script = Script::of(answers);
        let result = script.client(settings()).collateral(&vendor.id());
        (result, script)
    };
    let (result, script) = fetch(vec![status(429).with("retry-after", "7"), status(503)]);
    assert_eq!((code(result), script.slept()), ("ok", vec![7, 2]));
    let last = script.asked.lock().unwrap().last().unwrap().timeout;
    assert_eq!(last, Duration::from_secs(30 - 9), "one deadline for all questions");

    // By a date, counted from the service's own.
    let date = |answer: Answer, at: &str| {
        answer.with("date", "Sun, 22 Nov 2026 08:00:00 GMT").with("retry-after", at)
    };
    let (result, script) = fetch(vec![date(status(429), "Sun, 22 Nov 2026 08:00:05 GMT")]);
    assert_eq!((code(result), script.slept()), ("ok", vec![5]));
    let (result, script) = fetch(vec![date(status(429), "Sat, 21 Nov 2026 08:00:05 GMT")]);
    assert_eq!((code(result), script.slept()), ("ok", vec![1]), "a date that has passed");

    // Longer than anybody waits here: nobody sleeps, and the store learns how long.
    for (asked_for, wanted) in
        [("30", Some(30)), ("86400", Some(86400)), ("18446744073709551615", Some(u64::MAX))]
    {
        let (result, script) = fetch(vec![status(429).with("retry-after", asked_for)]);
        let Err(Error::Service { fault: ServiceFault::Busy, retry_after, .. }) = result else {
            panic!("busy")
        };
        assert_eq!((retry_after, script.slept()), (wanted, vec![]));
    }
    let (result, script) = fetch((0..9).map(|_| status(503)).collect());
    assert_eq!((code(result), script.slept()), ("collateral.service.busy", vec![1, 2, 4]));
    let (result, script) = fetch((0..9).map(|_| status(429).with("retry-after", "0")).collect());
    assert_eq!((code(result), script.urls().len()), ("collateral.service.busy", 4));
    let (result, script) =
        fetch(vec![status(429).with("retry-after", "29"), status(429).with("retry-after", "1")]);
    assert_eq!((code(result), script.slept()), ("collateral.service.busy", vec![29]));
}

#[test]
fn b42_no_connection_is_not_tried_again_and_says_why() {
    let script = Script::default();
    script.answers.lock().unwrap().push_back(Err(Trouble::Unreachable("connection refused".into())));
    let error = script.client(settings()).collateral(&Vendor::new().id()).unwrap_err();
    assert_eq!((error.code(), script.slept()), ("collateral.service.unreachable", vec![]));
    let text = error.to_string();
    assert!(text.contains("https://pcs.test/tdx/certification/v4/tcb") && text.contains("refused"), "{text}");
}

/// R31: no answer may be larger than such an answer can be, and all of them together make a set that can be read again.
#[test]
fn r31_every_answer_is_bounded() {
    let vendor = Vendor::new();
    let script = Script::of(vendor.answers(Style::Intel));
    script.client(settings()).collateral(&vendor.id()).unwrap();
    assert!(script.asked.lock().unwrap().iter().all(|asked| asked.limit == 256 << 10));
    for index in 0..4 {
        let answer = ok(vec![b' '; (256 << 10) + 1]);
        assert_eq!(code(with_answer(index, answer)), "collateral.service.too_large", "{index}");
    }
    let mut answers = vendor.answers(Style::Intel);
    for index in [2, 3] {
        answers[index].body = [&[0x30][..], &[0; (256 << 10) - 1]].concat();
    }
    let quotes = "\\\"".repeat(60 << 10);
    answers[0].body = format!("{{\"tcbInfo\":{{\"x\":\"{quotes}\"}},\"signature\":\"00\"}}").into_bytes();
    assert_eq!(code(Script::of(answers).client(settings()).collateral(&vendor.id())), "collateral.too_large");
}

#[test]
fn b42_answers_that_are_something_else_are_refused() {
    let vendor = Vendor::new();
    let header = |index: usize| vendor.answers(Style::Intel)[index].headers.first().cloned();
    let with_issuers = |index: usize, body: &[u8]| {
        let answer = ok(body);
        with_answer(
            index,
            header(index).into_iter().fold(answer, |answer, (name, value)| answer.with(&name, value)),
        )
    };
    let garbage: [&[u8]; 9] = [
        b"",
        b"<html>",
        b"{}",
        b"null",
        b"[1]",
        b"{\"tcbInfo\":{}}",
        &[0xff; 9],
        b"{\"tcbInfo\":{},\"signature\":\"x\"}",
        b"abc",
    ];
    for body in garbage {
        for index in 0..4 {
            let found = code(with_issuers(index, body));
            let empty_list = index >= 2 && body.is_empty();
            let wanted = if empty_list { "ok" } else { "collateral.service.malformed" };
            assert_eq!(found, wanted, "{index} {:?}", String::from_utf8_lossy(body));
        }
    }
    for more in [
        &br#"{"tcbInfo":{},"tcbInfo":{},"signature":""}"#[..],
        br#"{"tcbInfo":{},"signature":"","x":1}"#,
        br#"{"tcbInfo":{},"signature":""}{}"#,
    ] {
        assert_eq!(code(with_issuers(0, more)), "collateral.service.malformed", "R19");
    }
    // Issuers: none, two, not text; compressed bodies.
    for index in 0..3 {
        let answer = |change: &dyn Fn(Answer) -> Answer| {
            let answer = vendor.answers(Style::Intel).into_iter().nth(index).unwrap();
            code(with_answer(index, change(answer)))
        };
        let malformed = "collateral.service.malformed";
        assert_eq!(answer(&|answer| Answer { headers: Vec::new(), ..answer }), malformed);
        assert_eq!(
            answer(&|answer| {
                let (name, value) = answer.headers[0].clone();
                answer.with(&name, value)
            }),
            malformed
        );
        assert_eq!(
            answer(&|mut answer| {
                answer.headers[0].1 = "%ff%fe".into();
                answer
            }),
            malformed
        );
        assert_eq!(answer(&|answer| answer.with("content-encoding", "gzip")), malformed);
        assert_eq!(answer(&|answer| answer.with("content-encoding", "identity")), "ok");
    }
}

/// A cache that ignores the parameter cannot pass another number off as the wanted one.
#[test]
fn r29_a_pinned_number_is_the_number_that_comes() {
    let vendor = Vendor::new();
    let fetch = |number, change: &dyn Fn(&mut Vec<Answer>)| {
        let mut answers = vendor.answers(Style::Intel);
        change(&mut answers);
        let script = Script::of(answers);
        (
            code(script.client(settings().with_channel(Channel::Number(number))).collateral(&vendor.id())),
            script.urls(),
        )
    };
    assert_eq!(fetch(20, &|_| {}).0, "ok");
    assert_eq!(fetch(21, &|_| {}).0, "collateral.service.malformed");
    assert_eq!(fetch(20, &|answers| answers[0] = status(410)).0, "collateral.service.retired");
    assert_eq!(fetch(20, &|answers| answers[1] = status(410)).0, "collateral.service.retired");
    // No QE identity has this number: the standard one is asked for.
    let (found, urls) = fetch(20, &|answers| answers.insert(1, status(404)));
    assert_eq!(found, "ok");
    assert_eq!(urls[2], format!("{BASE}/tdx/certification/v4/qe/identity"));
    assert_eq!(fetch(20, &|answers| answers[0] = status(404)).0, "collateral.service.unknown_platform");
}

#[test]
fn addresses_are_https_or_of_this_machine() {
    for (good, base) in [
        ("https://pccs.example.com", "https://pccs.example.com"),
        ("https://pccs.example.com:8081/sgx/certification/v4/", "https://pccs.example.com:8081"),
        ("https://example.com/behind/a/proxy/", "https://example.com/behind/a/proxy"),
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("http://localhost:8081/sgx/certification/v4", "http://localhost:8081"),
        ("http://[::1]:1/", "http://[::1]:1"),
    ] {
        assert_eq!(PcsSettings::pccs(good).unwrap().base, base);
    }
    for bad in [
        "",
        "pccs.example.com",
        "ftp://example.com",
        "http://pccs.example.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "https://user:pw@example.com",
        "https://example.com/?x=1",
        "https://example.com/sgx/certification/v3/",
        "https://exa mple.com",
    ] {
        assert_eq!(code(PcsSettings::pccs(bad)), "usage.collateral", "{bad}");
        assert_eq!(code(PcsSettings::service(BASE, bad)), "usage.collateral", "{bad}");
        assert_eq!(code(KdsClient::service(bad, None)), "usage.collateral", "{bad}");
    }
    for bad in [
        &b""[..],
        b"-----BEGIN CERTIFICATE-----",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        assert_eq!(code(PcsSettings::intel().with_authorities(bad)), "usage.collateral");
    }
}

#[test]
fn the_other_vendor_is_not_asked() {
    let amd = CollateralId::Amd(AmdCollateralId {
        signer: SnpSigner::Vcek,
        product: Some(AmdProduct::Milan),
        chip_id: [7; 64],
        reported_tcb: [1, 0, 0, 0, 0, 0, 2, 3],
    });
    assert_eq!(code(Script::default().client(settings()).collateral(&amd)), "collateral.unavailable");
    let kds = KdsClient::over(Script::default().fetcher());
    assert_eq!(code(kds.collateral(&Vendor::new().id())), "collateral.unavailable");
}

#[test]
fn amd_is_asked_by_product_chip_and_tcb() {
    let certificate = {
        let params = CertificateParams::default();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    };
    let answers = || vec![ok(certificate.der().to_vec()), ok(certificate.pem()), ok([0x30, 0])];
    let id = |product, reported_tcb| AmdCollateralId {
        signer: SnpSigner::Vcek,
        product,
        chip_id: [0xab; 64],
        reported_tcb,
    };
    let ask = |answers: Vec<Answer>, id| {
        let script = Script::of(answers);
        (KdsClient::over(script.fetcher()).collateral(&CollateralId::Amd(id)), script.urls())
    };
    let milan = id(Some(AmdProduct::Milan), [4, 0, 0, 0, 0, 0, 24, 219]);
    let (set, urls) = ask(answers(), milan);
    let set = set.unwrap().snp_set().unwrap().clone();
    assert_eq!(
        (set.leaf, set.issuer_chain, set.crl),
        (certificate.der().to_vec(), certificate.pem(), Some(vec![0x30, 0]))
    );
    let chip = "ab".repeat(64);
    assert_eq!(
        urls,
        [
            format!("https://kdsintf.amd.com/vcek/v1/Milan/{chip}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"),
            "https://kdsintf.amd.com/vcek/v1/Milan/cert_chain".into(),
            "https://kdsintf.amd.com/vcek/v1/Milan/crl".into(),
        ]
    );
    // Turin: eight bytes of the chip's name, and one component more.
    let (_, urls) = ask(answers(), id(Some(AmdProduct::Turin), [1, 2, 0, 3, 0, 0, 0, 9]));
    let chip = "ab".repeat(8);
    assert_eq!(
        urls[0],
        format!(
            "https://kdsintf.amd.com/vcek/v1/Turin/{chip}?fmcSPL=01&blSPL=02&teeSPL=00&snpSPL=03&ucodeSPL=09"
        )
    );
    // A report that does not say its product: one after the other.
    let unnamed = id(None, [4, 0, 0, 0, 0, 0, 24, 219]);
    let mut later = answers();
    later.insert(0, status(404));
    let (set, urls) = ask(later, unnamed);
    assert!(
        set.is_ok()
            && urls[0].contains("/Milan/")
            && urls[1].contains("/Genoa/")
            && urls[2].contains("/Genoa/cert_chain")
    );
    assert_eq!(code(ask(vec![status(404), status(404)], unnamed).0), "collateral.service.unknown_platform");
    assert_eq!(code(ask(vec![status(500)], unnamed).0), "collateral.service.failed");
    assert_eq!(code(ask(vec![ok("<html>")], milan).0), "collateral.service.malformed");
    assert_eq!(code(ask(vec![ok(vec![0x30; 65 << 10])], milan).0), "collateral.service.too_large");
    assert_eq!(code(ask(vec![], AmdCollateralId { chip_id: [0; 64], ..milan }).0), "collateral.unavailable");
    assert_eq!(
        code(ask(vec![], AmdCollateralId { signer: SnpSigner::Vlek, ..milan }).0),
        "collateral.unavailable"
    );

    let script = Script::of(answers());
    let kds = KdsClient::over(script.fetcher());
    let tcb = SnpTcb { bootloader: 4, ..SnpTcb::default() };
    assert_eq!(kds.vcek(AmdProduct::Genoa, &[1; 64], &tcb).unwrap(), certificate.der().to_vec());
    assert_eq!(kds.issuers(AmdProduct::Genoa, SnpSigner::Vlek).unwrap(), certificate.pem());
    assert_eq!(kds.crl(AmdProduct::Genoa, SnpSigner::Vlek).unwrap(), [0x30, 0]);
    assert_eq!(script.urls()[1], "https://kdsintf.amd.com/vlek/v1/Genoa/cert_chain");
}

/// The real transport, against a server in this process that serves one connection.
fn over_socket(
    serve: impl FnOnce(TcpStream) + Send + 'static,
    scheme: &str,
    reach: &Reach,
    limit: usize,
) -> Result<Answer, Trouble> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    let url = format!("{scheme}://localhost:{port}/x");
    let question =
        Question { url: &url, headers: &[("X-Test", "1")], limit, timeout: Duration::from_secs(20) };
    let answer = Http::new(reach).get(&question);
    server.join().unwrap();
    answer
}

fn why(trouble: Trouble) -> String {
    match trouble {
        Trouble::TooLarge(limit) => format!("more than {limit} bytes"),
        Trouble::Malformed(why) | Trouble::Unreachable(why) => why,
    }
}

fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn says(response: &'static str) -> impl FnOnce(TcpStream) + Send + 'static {
    move |mut stream| {
        let head = read_head(&mut stream);
        assert!(
            head.starts_with("GET /x HTTP/1.1\r\n") && head.to_lowercase().contains("x-test: 1"),
            "{head}"
        );
        assert!(!head.to_lowercase().contains("accept-encoding: g"), "{head}");
        stream.write_all(response.as_bytes()).unwrap();
    }
}

#[test]
fn b42_the_transport_follows_nothing_and_stops_at_the_limit() {
    let ask = |response, limit| over_socket(says(response), "http", &Reach::default(), limit);
    let answer = ask("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nSGX-Thing: v\r\n\r\nabc", 3);
    let answer = answer.map_err(why).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"abc"[..]));
    assert!(answer.headers.contains(&("sgx-thing".into(), "v".into())));

    let moved = ask("HTTP/1.1 302 Found\r\nLocation: http://localhost:1/\r\nContent-Length: 0\r\n\r\n", 3);
    assert_eq!(moved.map_err(why).unwrap().status, 302);
    assert!(matches!(ask("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", 3), Err(Trouble::TooLarge(3))));
    // Announced as far more, or never announced and without end: it stops reading at the limit.
    assert!(matches!(
        ask("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nabcd", 3),
        Err(Trouble::TooLarge(3))
    ));
    let endless = |mut stream: TcpStream| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream
            .write_all(b"400\r\n")
            .and_then(|()| stream.write_all(&[b'x'; 1024]))
            .and_then(|()| stream.write_all(b"\r\n"))
            .is_ok()
        {}
    };
    assert!(matches!(over_socket(endless, "http", &Reach::default(), 4096), Err(Trouble::TooLarge(4096))));
    // A head without end: one field, answers before the answer, fields.
    let head = |start: &'static str, more: &'static str| {
        let serve = move |mut stream: TcpStream| {
            read_head(&mut stream);
            let _ = stream.write_all(start.as_bytes());
            while stream.write_all(more.repeat(100).as_bytes()).is_ok() {}
        };
        over_socket(serve, "http", &Reach::default(), 4096)
    };
    assert!(matches!(head("HTTP/1.1 200 OK\r\nX: ", "xxxxxxxx"), Err(Trouble::TooLarge(49152))));
    assert!(matches!(head("", "HTTP/1.1 100 Continue\r\n\r\n"), Err(Trouble::TooLarge(49152))));
    assert!(matches!(head("HTTP/1.1 200 OK\r\n", "X: xxxxxxxx\r\n"), Err(Trouble::Malformed(_))));
    assert!(matches!(ask("", 3), Err(Trouble::Unreachable(_))));
    assert!(matches!(ask("SSH-2.0-x\r\n", 3), Err(Trouble::Malformed(_))));
    let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    assert!(matches!(ask(chunk, 3), Err(Trouble::Malformed(_))));
    assert!(
        matches!(ask("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", 9), Err(Trouble::Unreachable(_))),
        "cut off"
    );
    // Never answering ends at the deadline, which is asked of the transport.
    let question = |url: &str| {
        let timeout = Duration::from_millis(1);
        Http::new(&Reach::default()).get(&Question { url, headers: &[], limit: 1, timeout }).is_err()
    };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(question(&format!("http://localhost:{}/", silent.local_addr().unwrap().port())));
}

/// R51: there is no TLS without verification: an unknown authority, another name, and the right ones.
#[test]
fn r51_tls_is_always_verified() {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::from_params(&params, &authority_key);
    let serve = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let engine = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(engine)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        move |stream: TcpStream| {
            let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            if read_head(&mut tls).starts_with("GET ") {
                tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                let _ = tls.flush();
            }
        }
    };
    let trusting = PcsSettings::intel().with_authorities(authority.pem().as_bytes()).unwrap().reach;
    let answer = over_socket(serve("localhost"), "https", &trusting, 9).map_err(why).unwrap();
    assert_eq!(answer.body, b"ok");
    for (name, reach) in [("localhost", Reach::default()), ("example.com", trusting)] {
        let Err(Trouble::Unreachable(why)) = over_socket(serve(name), "https", &reach, 9) else {
            panic!("{name}")
        };
        assert!(why.contains("certificate"), "{why}");
    }
}
