//! What is asked and answered on the admin socket, and the part of it that is public.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State as Here};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use bulla_protocol::{Code, Problem, Signed};

use super::status;
#[cfg(doc)]
use crate::Provider;
use crate::admit::Service;
use crate::health::State;
use crate::{Error, metrics};

/// The longest document that travels, in bytes.
const DOCUMENT_MAX: usize = 8 << 20;

/// What the operator may.
pub(super) fn operator(service: Arc<Service>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/reload", post(reload))
        .route("/drain", post(drain))
        .route("/resume", post(resume))
        .route("/nonce", post(nonce))
        .route("/command", post(command))
        .route("/handover", post(handover))
        .merge(shared())
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(service)
}

/// What everybody on this machine may see.
pub(super) fn public(service: Arc<Service>) -> Router {
    shared().fallback(nothing).method_not_allowed_fallback(nothing).with_state(service)
}

fn shared() -> Router<Arc<Service>> {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
}

/// The process answers.
pub(crate) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether keys are given; 503 and a problem document if not. Both say which states hold.
pub(crate) async fn ready(Here(service): Here<Arc<Service>>) -> Response {
    let states = service.states().await;
    let shown: Vec<_> = states.iter().copied().map(State::shown).collect();
    if states.is_empty() {
        return Json(json!({ "ready": true, "states": shown })).into_response();
    }
    let mut problem = problem_of(Code::NotReady);
    extend(&mut problem, [("ready", json!(false)), ("states", json!(shown))]);
    let mut response = problem_response(Code::NotReady.http_status(), problem);
    response.headers_mut().insert(RETRY_AFTER, Code::NotReady.retry_after().unwrap_or(1).into());
    response
}

async fn metrics(Here(service): Here<Arc<Service>>) -> Response {
    let moment = status::moment(&service).await;
    ([(CONTENT_TYPE, metrics::MEDIA)], service.provider.operation.metrics.text(&moment)).into_response()
}

async fn status(Here(service): Here<Arc<Service>>) -> Response {
    Json(status::status(&service).await).into_response()
}

async fn reload(Here(service): Here<Arc<Service>>) -> Response {
    let reloaded = spawn_blocking(move || service.reload()).await;
    respond(reloaded.map(|reloaded| reloaded.map(|changed| json!({ "changed": changed }))))
}

/// Takes no more requests, and answers when those that were begun are finished.
async fn drain(Here(service): Here<Arc<Service>>) -> Response {
    service.drain();
    service.provider.operation.drain.ended().await;
    Json(json!({ "draining": true, "answering": 0 })).into_response()
}

async fn resume(Here(service): Here<Arc<Service>>) -> Response {
    service.resume();
    Json(json!({ "draining": false })).into_response()
}

async fn nonce(Here(service): Here<Arc<Service>>) -> Response {
    respond(Ok(service.provider.operation.nonces.issue().map_err(Error::from).map(|nonce| {
        let provider = hex::encode(service.provider.regime().own.verifying_key());
        json!({ "provider": provider, "nonce": hex::encode(nonce) })
    })))
}

/// The roots for a successor that proves itself. The authority's signature is on the policy that names it ([`Provider::hand_over`]).
async fn handover(Here(service): Here<Arc<Service>>, request: Request) -> Response {
    let Ok(body) = to_bytes(request.into_body(), DOCUMENT_MAX).await else {
        return problem_response(413, problem_of(Code::TooLarge));
    };
    let granted = spawn_blocking(move || {
        let grant = service.provider.hand_over(&body)?;
        service.provider.note("handover", &[]);
        Ok::<_, Error>(grant)
    });
    match granted.await {
        Ok(Ok(grant)) => ([(CONTENT_TYPE, "application/json")], grant).into_response(),
        Ok(Err(error)) => respond(Ok(Err(error))),
        Err(error) => respond(Err(error)),
    }
}

async fn command(Here(service): Here<Arc<Service>>, request: Request) -> Response {
    let Ok(body) = to_bytes(request.into_body(), Signed::LIMIT).await else {
        return problem_response(413, problem_of(Code::TooLarge));
    };
    let done = spawn_blocking(move || service.provider.obey(&body)).await;
    respond(done)
}

async fn nothing() -> Response {
    problem_response(Code::NotFound.http_status(), problem_of(Code::NotFound))
}

/// What was done, or why not: precisely, because the operator asks (R55).
fn respond(done: Result<Result<Value, Error>, tokio::task::JoinError>) -> Response {
    let error = match done {
        Ok(Ok(value)) => return Json(value).into_response(),
        Ok(Err(error)) => error,
        Err(_) => return problem_response(500, problem_of(Code::Internal)),
    };
    let problem = json!({
        "type": format!("urn:bulla:problem:{}", error.code()),
        "title": error.to_string(),
        "status": 409,
        "code": error.code(),
    });
    problem_response(409, problem)
}

fn problem_of(code: Code) -> Value {
    serde_json::to_value(Problem::from(code)).unwrap_or_default()
}

fn extend(document: &mut Value, with: impl IntoIterator<Item = (&'static str, Value)>) {
    if let Some(document) = document.as_object_mut() {
        document.extend(with.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
}

fn problem_response(status: u16, problem: Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
}
