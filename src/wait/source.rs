//! The real source of a wait: the API, shared with other processes, and xenstore.

use std::time::Duration;

use super::{Policy, Poll, PollResult, Source, WaitQuery, Wakeup};
use crate::api::request::{Answer, Failure};
use crate::api::response;
use crate::clock::BootInstant;
use crate::coalesce::{Event, Response, Subscription, SubscriptionConfig};
use crate::error::{Kind, Result};
use crate::model::{Format, Goal, Operation};
use crate::session::{REGION_RETRY, Session};
use crate::xenstore::{self, Snapshot, Watcher};

/// The API, and xenstore.
pub struct ApiAndXenstore<'a> {
    session: &'a Session,
    policy: Policy,
    /// `None` until the endpoint is known.
    subscription: Option<Subscription<&'a Session>>,
    watcher: Watcher,
}

impl<'a> ApiAndXenstore<'a> {
    /// A source that has sent no request yet.
    pub fn new(session: &'a Session, policy: Policy) -> ApiAndXenstore<'a> {
        ApiAndXenstore { session, policy, subscription: None, watcher: Watcher::default() }
    }

    /// The subscription, which begins as soon as the endpoint is known.
    fn subscription(&mut self, deadline: BootInstant) -> Result<&mut Subscription<&'a Session>> {
        let subscription = match self.subscription.take() {
            Some(subscription) => subscription,
            None => {
                self.session.client(deadline)?;
                Subscription::new(self.session, subscription_config(&self.policy))
            }
        };
        Ok(self.subscription.insert(subscription))
    }

    /// Sleeps while the endpoint is not known.
    fn rest_without_api(&mut self, until: BootInstant) -> Wakeup {
        if self.watcher.wait_for_change(until) { Wakeup::LocalChange } else { Wakeup::Timeout }
    }
}

fn subscription_config(policy: &Policy) -> SubscriptionConfig {
    let (operation, format) = request_of(match policy.goal {
        Goal::Deployed | Goal::Managed => WaitQuery::Status,
        Goal::Gateway => WaitQuery::Gateway,
    });
    SubscriptionConfig {
        operation,
        format,
        interval: policy.interval,
        end: policy.deadline,
        is_watched: policy.is_watched,
    }
}

/// The poll that a response belongs to; `None` if it is not to a query of a wait.
fn poll(session: &Session, response: &Response) -> Option<Poll> {
    let Response { operation, format, asked, .. } = *response;
    let query = query_of(operation, format)?;
    let result = match session.interpret(response) {
        Err(failure) => PollResult::Failure(failure),
        Ok(Answer::NotFound(_)) => PollResult::NotFound,
        Ok(Answer::Body(bytes)) => read(query, &bytes, format)
            .unwrap_or_else(|err| PollResult::Failure(Failure::Error(err))),
    };
    Some(Poll { query, asked, result })
}

/// The operation and format of a query.
fn request_of(query: WaitQuery) -> (Operation, Format) {
    match query {
        WaitQuery::Status => (Operation::Status, Format::Text),
        WaitQuery::Gateway => (Operation::Gateway, Format::Text),
        WaitQuery::Tasks => (Operation::Details, Format::Json),
    }
}

fn query_of(operation: Operation, format: Format) -> Option<WaitQuery> {
    [WaitQuery::Status, WaitQuery::Gateway, WaitQuery::Tasks]
        .into_iter()
        .find(|query| request_of(*query) == (operation, format))
}

fn read(query: WaitQuery, bytes: &[u8], format: Format) -> Result<PollResult> {
    match query {
        WaitQuery::Status => response::status(bytes, format).map(PollResult::Status),
        WaitQuery::Gateway => response::gateway(bytes).map(PollResult::Gateway),
        WaitQuery::Tasks => response::details(bytes).map(|(_, tasks)| PollResult::Tasks(tasks)),
    }
}

impl Source for ApiAndXenstore<'_> {
    fn ask(&mut self, query: WaitQuery, deadline: BootInstant) -> Result<Poll> {
        let session = self.session;
        let now = BootInstant::now();
        // xenstore may be slow or still empty; then it is read again later.
        let subscription = match self.subscription(deadline.min(now + REGION_RETRY)) {
            Ok(subscription) => subscription,
            Err(err) if err.kind == Kind::NotYet => {
                let result = PollResult::NoEndpoint { until: now + REGION_RETRY, err };
                return Ok(Poll { query, asked: now, result });
            }
            Err(err) => return Err(err),
        };
        let (operation, format) = request_of(query);
        loop {
            let response = subscription.ask(operation, format, deadline);
            if let Some(poll) = poll(session, &response) {
                return Ok(poll);
            }
        }
    }

    fn rest(&mut self, until: BootInstant) -> Wakeup {
        loop {
            if self.watcher.has_changed() {
                return Wakeup::LocalChange;
            }
            let Some(subscription) = &mut self.subscription else {
                return self.rest_without_api(until);
            };
            let event = subscription.rest(until, self.watcher.wakeup());
            if let Event::Response(response) = &event
                && let Some(poll) = poll(self.session, response)
            {
                return Wakeup::Poll(poll);
            }
            if self.watcher.has_changed() {
                return Wakeup::LocalChange;
            }
            if BootInstant::now() >= until {
                return Wakeup::Timeout;
            }
        }
    }

    fn snapshot(&mut self) -> Option<Snapshot> {
        let seen = self.watcher.snapshot(self.policy.deadline);
        // Without xenstore the marker file is the only trace of Managed Operations.
        let is_managed = self.policy.goal == Goal::Managed;
        seen.or_else(|| (is_managed && self.watcher.is_absent()).then(xenstore::managed_marker))
    }

    fn set_interval(&mut self, interval: Duration) {
        if let Some(subscription) = &mut self.subscription {
            subscription.set_interval(interval);
        }
    }
}
