//! `bulla sim pcs` by itself, over a plain connection.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::service::{DAY, NOW, Service, replace, set_clock};
use crate::support::Bulla;

fn exchange(service: &Service, request: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(&service.address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    let length = format!("Content-Length: {}", answer.len() - end - 4);
    assert!(head.lines().any(|line| line == length), "{head}");
    (status, head, answer[end + 4..].to_vec())
}

fn get(service: &Service, path: &str) -> (u16, String, Vec<u8>) {
    exchange(service, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

const TCB: &str = "/tdx/certification/v4/tcb?fmspc=b011a51a0000";

fn issued(service: &Service) -> String {
    let (status, head, body) = get(service, TCB);
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("TCB-Info-Issuer-Chain: -----BEGIN%20CERTIFICATE-----%0"), "{head}");
    let body: Value = serde_json::from_slice(&body).unwrap();
    body["tcbInfo"]["issueDate"].as_str().unwrap().to_owned()
}

#[test]
fn it_serves_what_its_clock_says_and_what_the_machine_has_become() {
    let bulla = Bulla::with_host();
    set_clock(&bulla, NOW);
    let service = Service::honest(&bulla, "127.0.0.1:0");
    assert_eq!(issued(&service), "2027-01-14T08:00:00Z");
    set_clock(&bulla, NOW + 7 * DAY);
    assert_eq!(issued(&service), "2027-01-21T08:00:00Z");

    let number = |service: &Service| {
        let (_, _, body) = get(service, TCB);
        let body: Value = serde_json::from_slice(&body).unwrap();
        body["tcbInfo"]["tcbEvaluationDataNumber"].as_u64().unwrap()
    };
    assert_eq!(number(&service), 20);
    let at = NOW + 8 * DAY;
    bulla
        .run(&format!("sim recovery host --at {at} --microcode 6 --tdx-module 5 --advisory SIM-SA-00002"))
        .ok();
    assert_eq!(number(&service), 20);
    set_clock(&bulla, at);
    assert_eq!(number(&service), 21);
    assert_eq!(get(&service, &format!("{TCB}&tcbEvaluationDataNumber=20")).0, 410);

    let log = service.asked();
    assert!(log.iter().any(|line| *line == format!("bulla: GET {TCB} 200")), "{log:?}");
}

#[test]
fn a_clock_or_a_machine_that_is_gone_is_a_failure_of_the_service() {
    let bulla = Bulla::with_host();
    set_clock(&bulla, NOW);
    let service = Service::honest(&bulla, "127.0.0.1:0");
    replace(&bulla.path("clock"), "noon");
    assert_eq!(get(&service, TCB).0, 500);
    set_clock(&bulla, NOW);
    assert_eq!(get(&service, TCB).0, 200);
    bulla.set("host/machine.toml", "extra", "1");
    assert_eq!(get(&service, TCB).0, 500);
}

#[test]
fn what_is_no_request_is_400_and_what_is_no_get_405() {
    let bulla = Bulla::with_host();
    set_clock(&bulla, NOW);
    let service = Service::honest(&bulla, "127.0.0.1:0");
    for request in ["\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9\r\n\r\n"] {
        assert_eq!(exchange(&service, request).0, 400, "{request:?}");
    }
    assert_eq!(exchange(&service, &format!("POST {TCB} HTTP/1.1\r\n\r\n")).0, 405);
    assert_eq!(get(&service, "/").0, 404);
    assert_eq!(get(&service, TCB).0, 200, "it goes on");
}

#[test]
fn it_listens_on_loopback_only_and_needs_a_machine_and_a_time() {
    let bulla = Bulla::with_host();
    for listen in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        bulla.run(&format!("sim pcs host --listen {listen}")).fails(2, &["not a loopback address"]);
    }
    bulla.run("sim pcs missing --listen 127.0.0.1:0").fails(13, &["machine.toml"]);
    bulla.run("sim pcs host --listen 127.0.0.1:0 --clock missing").fails(2, &["missing"]);
    bulla.run("sim pcs host --at 1 --clock clock").fails(2, &["cannot be used with"]);
    bulla.run("sim pcs host --at noon").fails(2, &["noon"]);
}

#[test]
fn recoveries_modules_and_revocations_are_commands() {
    let bulla = Bulla::with_host();
    let recovery = "--microcode 6 --tdx-module 6 --advisory SIM-SA-00002";
    bulla.run(&format!("sim recovery host --at {NOW} {recovery}")).ok();
    let early = format!("sim recovery host --at {} {recovery}", NOW - 1);
    bulla.run(&early).fails(2, &["[sim.history]"]);
    let backwards = format!("sim recovery host --at {} --standard-at {NOW} {recovery}", NOW + 1);
    bulla.run(&backwards).fails(2, &["[sim.history]"]);
    bulla.run(&format!("sim revoke host --at {NOW}")).ok();
    bulla.run("sim tdx-module host 1.6").ok();
    assert!(bulla.value("host/machine.toml", "tee_tcb_svn").starts_with("\"0601"));
    for version in ["1", "1.", "1.256", "1.5.2", "-1.5"] {
        bulla.run(&format!("sim tdx-module host {version}")).fails(2, &[]);
    }
}
