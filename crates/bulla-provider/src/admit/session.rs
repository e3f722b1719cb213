//! The routes of sessions, which are there on every connection and answer on one over TLS.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::{Extension, State};
use axum::response::Response;
use rustls::ServerConnection;
use tokio::sync::Mutex;

use bulla_protocol::Code;
use bulla_protocol::v1::{SessionAnswer, SessionKeys, SessionOrder, SessionRequest};

use super::http::{Here, Seated, problem, received, respond};
use crate::audit::Mode;
use crate::record::Subject;
use crate::refusal::Refusal;
use crate::session::{Channel, Session};
use crate::work::Quoting;

/// What a connection can prove and has proved. It goes with the connection.
#[derive(Clone)]
pub(super) struct Attested {
    /// Only TLS has one.
    channel: Option<Channel>,
    /// Its holder alone asks; requests on one connection come one after the other.
    session: Arc<Mutex<Option<Session>>>,
}

impl Attested {
    /// A connection that evidence cannot be bound to.
    pub(super) fn none() -> Self {
        Self { channel: None, session: Arc::default() }
    }

    /// A connection whose handshake is done.
    pub(super) fn over(connection: &ServerConnection) -> Self {
        let export = |label: &str| connection.export_keying_material([0; 32], label.as_bytes(), None);
        Self { channel: Channel::of(export).ok(), ..Self::none() }
    }
}

pub(super) async fn open(
    State(service): Here,
    Extension(seat): Seated,
    Extension(attested): Extension<Attested>,
    body: HttpBody,
) -> Response {
    let order = async {
        let channel = attested.channel.ok_or(Refusal::new(Code::Unsupported, "session.no_tls"))?;
        let body = received(&seat, body).await?;
        Ok::<_, Refusal>((SessionOrder::from_json(&body.bytes)?, channel))
    };
    let (order, channel) = match order.await {
        Ok(order) => order,
        Err(refusal) => return problem(&service, &Mode::V1.into(), &refusal).await,
    };
    let subject = Subject::evidence(&order.evidence);
    let opened = async {
        let (session, answer) =
            service.walk(Quoting::Always, move |provider| provider.open_session(&order, &channel)).await?;
        *attested.session.lock().await = Some(session);
        Ok(answer)
    };
    respond::<SessionAnswer>(&service, &seat, &subject, opened).await
}

pub(super) async fn keys(
    State(service): Here,
    Extension(seat): Seated,
    Extension(attested): Extension<Attested>,
    body: HttpBody,
) -> Response {
    let request = received(&seat, body).await.and_then(|body| Ok(SessionRequest::from_json(&body.bytes)?));
    let request = match request {
        Ok(request) => request,
        Err(refusal) => return problem(&service, &Mode::V1.into(), &refusal).await,
    };
    let subject = Subject::session(&request);
    let given = async {
        let mut session = attested.session.lock().await;
        let Some(open) = session.as_mut() else {
            return Err(Refusal::new(Code::SessionEnded, "session.none"));
        };
        // Nothing in it blocks, and a thread of its own would cost more than all of it.
        let given = open.keys(&service.provider, &request);
        if given.as_ref().is_err_and(|refusal| refusal.code == Code::SessionEnded) {
            *session = None;
        }
        given?.released().await
    };
    respond::<SessionKeys>(&service, &seat, &subject, given).await
}
