//! Protocol v1 over HTTP/1.1. Refusals are problem documents (RFC 9457).

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use axum::body::{Body as HttpBody, HttpBody as _};
use axum::extract::{Extension, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use bulla_protocol::v1::{Answer, Challenge, FutureKey, Order, PublicKey, Statement};
use bulla_protocol::{BODY_MAX, Code, Problem};

use super::Service;
use super::places::{ARRIVAL, Body, PIECE, Seat, WRITING};
use super::session::{self, Attested};
use crate::admin::{live, ready};
use crate::answer::order_is_ours;
use crate::audit::Mode;
use crate::record::Subject;
use crate::refusal::Refusal;
use crate::regime::Regime;
use crate::work::Quoting;

/// The most that a request's head may have, in bytes, and what hyper may buffer for a connection.
const BUFFER: usize = 16 * 1024;

/// What an answer with a few keys needs, in bytes.
const USUAL: usize = 2048;

/// Speaks until the peer leaves.
pub(super) async fn speak(
    service: &Arc<Service>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    seat: &Arc<Seat>,
    attested: Attested,
) {
    let router = router(Arc::clone(service));
    let answer = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(seat));
        request.extensions_mut().insert(attested.clone());
        let answering = match service.admitted(seat.peer) {
            Ok(()) => Ok(router.clone().oneshot(request.map(HttpBody::new))),
            Err(refusal) => Err(refusal),
        };
        async move {
            Ok::<_, Infallible>(match answering {
                Ok(answering) => answering.await.unwrap_or_else(|never| match never {}),
                Err(refusal) => problem(service, &Mode::V1.into(), &refusal).await,
            })
        }
    });
    // Deadlines are the seat's, over all phases; hyper's own, which knows only heads, is off.
    let speaking = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), answer);
    if speaking.await.is_err_and(|error| error.is_parse()) {
        service.refused(&Mode::V1.into(), &Refusal::new(Code::Malformed, "malformed.http")).await;
    }
}

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/v1/provider", get(statement))
        .route("/v1/challenge", get(challenge))
        .route("/v1/keys", post(keys))
        .route("/v1/public-key", post(public_key))
        .route("/v1/session", post(session::open))
        .route("/v1/session/keys", post(session::keys))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(service)
}

pub(super) type Here = State<Arc<Service>>;
pub(super) type Seated = Extension<Arc<Seat>>;

async fn statement(State(service): Here, Extension(seat): Seated) -> Response {
    // Of before the statement: should another follow meanwhile, the challenge is for neither.
    let regime = service.provider.regime().number;
    let asked = service.walk(Quoting::Seldom, |provider| provider.statement());
    let response = respond::<Statement>(&service, &seat, &Mode::V1.into(), asked).await;
    with_challenge(&service, &seat, regime, response)
}

async fn challenge(State(service): Here, Extension(seat): Seated) -> Response {
    let issued = async { Ok(issue(&service, &seat, service.provider.regime().number)) };
    respond::<Challenge>(&service, &seat, &Mode::V1.into(), issued).await
}

async fn keys(State(service): Here, Extension(seat): Seated, body: HttpBody) -> Response {
    let (regime, order) = match order(&service, &seat, body).await {
        Ok(order) => order,
        Err(refusal) => return problem(&service, &Mode::V1.into(), &refusal).await,
    };
    let (transcript, number) = (order.transcript(), regime.number);
    let subject = Subject::order(&order.request, &transcript);
    let answered = async {
        service
            .walk(Quoting::Seldom, move |provider| provider.answer(&regime, &order, &transcript))
            .await?
            .released()
            .await
    };
    let response = respond::<Answer>(&service, &seat, &subject, answered).await;
    with_challenge(&service, &seat, number, response)
}

fn issue(service: &Service, seat: &Seat, regime: u64) -> Challenge {
    let mut ledger = seat.ledger.lock().unwrap_or_else(PoisonError::into_inner);
    service.provider.challenges.issue(&mut ledger, regime, Instant::now())
}

/// Adds a challenge for the next order to what was answered under a regime.
fn with_challenge(service: &Service, seat: &Seat, regime: u64, mut response: Response) -> Response {
    if response.status() == StatusCode::OK {
        let challenge = issue(service, seat, regime).to_field();
        let value = HeaderValue::from_bytes(&challenge).expect("base64 and numbers are visible ASCII");
        response.headers_mut().insert(HeaderName::from_static(Challenge::FIELD), value);
    }
    response
}

async fn public_key(State(service): Here, Extension(seat): Seated, body: HttpBody) -> Response {
    let wanted = received(&seat, body).await.and_then(|body| {
        let wanted = FutureKey::from_json(&body.bytes)?;
        Ok((Subject::description(&wanted, &body.bytes), wanted))
    });
    let (subject, wanted) = match wanted {
        Ok(wanted) => wanted,
        Err(refusal) => return problem(&service, &Mode::V1.into(), &refusal).await,
    };
    let answered = async {
        let answer = service.walk(Quoting::Seldom, move |provider| provider.public_key(&wanted)).await?;
        if let Some(ticket) = service.provider.record.public_key(&subject) {
            ticket.durable().await?;
        }
        Ok(answer)
    };
    respond::<PublicKey>(&service, &seat, &subject, answered).await
}

async fn nothing(State(service): Here) -> Response {
    problem(&service, &Mode::V1.into(), &Code::NotFound.into()).await
}

/// Answers a complete request; the connection does not give way meanwhile.
pub(super) async fn respond<T: serde::Serialize>(
    service: &Service,
    seat: &Seat,
    subject: &Subject,
    answer: impl Future<Output = Result<T, Refusal>>,
) -> Response {
    if let Err(refusal) = seat.answering() {
        return problem(service, subject, &refusal).await;
    }
    let answer = async {
        let _begun = service.begin(Mode::V1)?;
        answer.await
    };
    let response = match answer.await {
        Ok(answer) => json(&answer),
        Err(refusal) => problem(service, subject, &refusal).await,
    };
    seat.resting();
    response
}

fn json(answer: &impl serde::Serialize) -> Response {
    let mut body = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut body, answer).expect("texts, numbers and base64 are JSON");
    let kind = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([kind, (CACHE_CONTROL, HeaderValue::from_static("no-store"))], body).into_response()
}

/// An order that is whole, well-formed, fresh and for this provider; its evidence was not looked at (R50).
async fn order(service: &Service, seat: &Seat, body: HttpBody) -> Result<(Arc<Regime>, Order), Refusal> {
    let body = received(seat, body).await?;
    let order = Order::from_json(&body.bytes)?;
    let (regime, challenges) = (service.provider.regime(), &service.provider.challenges);
    {
        let mut ledger = seat.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        challenges.redeem(&mut ledger, regime.number, &order.request.challenge, Instant::now())?;
    }
    order_is_ours(&regime, &order.request)?;
    Ok((regime, order))
}

/// The body, in time.
pub(super) async fn received<'a>(seat: &'a Seat, body: HttpBody) -> Result<Body<'a>, Refusal> {
    seat.within(ARRIVAL + WRITING);
    timeout(ARRIVAL, whole(seat, body)).await.map_err(|_| Refusal::from(Code::Timeout))?
}

/// The body, as it arrives (R47).
async fn whole<'a>(seat: &'a Seat, mut body: HttpBody) -> Result<Body<'a>, Refusal> {
    let mut whole = Body::new(seat);
    // A piece is there for everybody, so that it may be taken before it arrives.
    let expected = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    whole.reserve(expected.min(PIECE)).await?;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| Refusal::new(Code::Malformed, "malformed.cut"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.bytes.len() + data.len() > BODY_MAX {
            return Err(Code::TooLarge.into());
        }
        for piece in data.chunks(PIECE) {
            whole.reserve(piece.len()).await?;
            whole.bytes.extend_from_slice(piece);
        }
    }
    Ok(whole)
}

pub(super) async fn problem(service: &Service, subject: &Subject, refusal: &Refusal) -> Response {
    service.refused(subject, refusal).await;
    let status =
        StatusCode::from_u16(refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media = [(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
    let mut response = (status, media, Json(Problem::from(refusal.code))).into_response();
    if let Some(seconds) = refusal.retry_after.or(refusal.code.retry_after()) {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}
