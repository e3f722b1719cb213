use std::thread;

use bulla_crypto::Class;
use zerocopy::FromZeros;

use super::*;

fn report() -> TdReport {
    let mut report = TdReport::new_zeroed();
    report.report_mac.report_data = [7; 64];
    report.td_info.mrtd = [0x11; 48];
    report
}

/// Asks somebody who reads one request and writes `answer`, and what was read.
fn ask(answer: Vec<u8>) -> (io::Result<Vec<u8>>, Vec<u8>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let service = thread::spawn(move || {
        let mut request = vec![0; 4 + 24 + 1024];
        theirs.read_exact(&mut request).unwrap();
        // It may have hung up by then.
        let _ = theirs.write_all(&answer);
        request
    });
    let message = exchange(ours, &report(), PATIENCE);
    (message, service.join().unwrap())
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes()[..], message].concat()
}

/// The bytes are those that Intel's library sends (qgs_msg_gen_get_quote_req), and there is one write of them.
#[test]
fn the_request_equals_its_vector() {
    let (_, request) = ask(framed(&[0; 24]));
    let head = "00000418".to_owned()
        + "0100"
        + "0100"
        + "00000000"
        + "18040000"
        + "00000000"
        + "00040000"
        + "00000000";
    assert_eq!(hex::encode(&request[..28]), head);
    assert_eq!(&request[28..], report().as_bytes());
}

/// One frame is read, however it is cut; what is behind it is not looked at.
#[test]
fn an_answer_is_one_frame() {
    let message = [5; 100];
    let (read, _) = ask([framed(&message), framed(&message)].concat());
    assert_eq!(read.unwrap(), message);
}

/// R31, R53: a length beyond any quote's costs nothing, and one that is not kept ends.
#[test]
fn a_length_is_judged_before_it_is_believed() {
    for length in [0, 23, (24 + LIMIT + 1) as u32, u32::MAX] {
        let (read, _) = ask(length.to_be_bytes().to_vec());
        let error = read.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{length}");
        assert!(error.to_string().contains(&format!("{length} bytes")));
    }
    for answer in [vec![], vec![0], framed(&[1; 100])[..103].to_vec()] {
        let (read, _) = ask(answer);
        let error = read.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert!(reason(&error).contains("hung up"));
    }
    let (read, _) = ask(framed(&vec![1; 24 + LIMIT]));
    assert_eq!(read.unwrap().len(), 24 + LIMIT);
}

/// R53: who does not answer is not waited for for ever.
#[test]
fn silence_has_an_end() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let error = exchange(ours, &report(), Duration::from_millis(20)).unwrap_err();
    assert!(reason(&error).contains("has not answered"), "{error}");
}

#[test]
fn addresses_come_back_from_their_text() {
    assert_eq!(QuoteService::HOST.to_string(), "vsock:2:4050");
    assert_eq!(QuoteService::on_host(4051).to_string(), "vsock:2:4051");
    for text in ["vsock:2:4050", "vsock:3:1", "unix:/run/tdx-qgs/qgs.socket"] {
        assert_eq!(QuoteService::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        "vsock",
        "vsock:2",
        "vsock:2:",
        "vsock::1",
        "vsock:2:4050:1",
        "vsock:2:4294967296",
        "unix:",
        "tcp:2:1",
    ] {
        assert_eq!(QuoteService::parse(text), None, "{text}");
    }
}

#[test]
fn nobody_there_is_said_so() {
    let folder = std::env::temp_dir().join("bulla-qgs-that-is-not-there");
    let error = QuoteService::Unix(folder).quote(&report()).unwrap_err();
    assert_eq!((error.code(), error.class()), ("machine.unavailable", Class::Unavailable));
    assert!(error.to_string().contains("nobody listens there"), "{error}");
}
