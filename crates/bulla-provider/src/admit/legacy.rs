//! The frames of the earlier providers: a length and a body, both ways, once. A refusal closes the connection, and so does
//! the response, because that is what the existing clients know.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use bulla_protocol::{Code, legacy};

use super::Service;
use super::places::{Body, PIECE, Seat, WRITING};
use crate::audit::Mode;
use crate::record::Subject;
use crate::refusal::Refusal;
use crate::work::Quoting;

/// Answers one request.
pub(super) async fn speak(service: &Arc<Service>, mut stream: TcpStream, seat: &Seat) {
    let mut subject = Mode::Legacy.into();
    if let Some(Err(refusal)) = exchange(service, &mut stream, seat, &mut subject).await {
        service.refused(&subject, &refusal).await;
    }
}

/// One request and its response; `None` where the peer has left.
async fn exchange(
    service: &Arc<Service>,
    stream: &mut TcpStream,
    seat: &Seat,
    subject: &mut Subject,
) -> Option<Result<(), Refusal>> {
    let mut prefix = [0; 4];
    let (first, rest) = prefix.split_at_mut(1);
    stream.read_exact(first).await.ok()?;
    seat.arriving();
    stream.read_exact(rest).await.ok()?;
    match answer(service, stream, seat, subject, prefix).await {
        Ok(response) => {
            seat.within(WRITING);
            stream.write_all(&response).await.ok()?;
            stream.shutdown().await.ok().map(Ok)
        }
        Err(refusal) => Some(Err(refusal)),
    }
}

async fn answer(
    service: &Arc<Service>,
    stream: &mut TcpStream,
    seat: &Seat,
    subject: &mut Subject,
    prefix: [u8; 4],
) -> Result<Vec<u8>, Refusal> {
    service.admitted(seat.peer)?;
    let quote = {
        let body = body(stream, seat, legacy::body_length(prefix)?).await?;
        seat.answering()?;
        legacy::quote(&body.bytes)?
    };
    let _begun = service.begin(Mode::Legacy)?;
    *subject = Subject::quote(&quote);
    service.walk(Quoting::Always, move |provider| provider.answer_legacy(&quote)).await?.released().await
}

/// The body, in pieces: what was announced costs nothing until it arrives (R47).
async fn body<'a>(stream: &mut TcpStream, seat: &'a Seat, length: usize) -> Result<Body<'a>, Refusal> {
    let mut body = Body::new(seat);
    while body.bytes.len() < length {
        let start = body.bytes.len();
        let piece = PIECE.min(length - start);
        body.reserve(piece).await?;
        body.bytes.resize(start + piece, 0);
        let (_, empty) = body.bytes.split_at_mut(start);
        stream.read_exact(empty).await.map_err(|_| Refusal::new(Code::Malformed, "malformed.cut"))?;
    }
    Ok(body)
}
