//! The requests that a gateway command sends to the API: for the address, the status, the features.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::policy::{self, NetworkStack, Refusal};
use crate::api::reach::Target;
use crate::api::request::Answer;
use crate::api::response;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result};
use crate::model::{Format, Operation, Status};
use crate::ratelimit::RESERVED_PERMITS;
use crate::session::Session;

/// How long a command that asks repeatedly reuses the features: they hardly ever change, and
/// asking for them costs a request.
const FEATURES_LIFETIME: Duration = Duration::from_secs(60);

/// The API as the gateway commands use it: one client for all requests.
pub(crate) trait GatewayApi: Sync {
    /// Sends one request, which ends by `deadline` and leaves `reserved` permits of the rate limit
    /// to others.
    ///
    /// # Errors
    /// There is no usable response.
    fn ask(
        &self,
        operation: Operation,
        format: Format,
        deadline: BootInstant,
        reserved: usize,
    ) -> Result<Answer>;

    /// The API as a destination of connections without a request. Where it is not known yet, that
    /// is found out by `deadline`.
    ///
    /// # Errors
    /// The settings are wrong.
    fn target(&self, deadline: BootInstant) -> Result<Target>;
}

impl GatewayApi for Session {
    fn ask(
        &self,
        operation: Operation,
        format: Format,
        deadline: BootInstant,
        reserved: usize,
    ) -> Result<Answer> {
        Session::ask(self, operation, format, deadline, reserved)
    }

    fn target(&self, deadline: BootInstant) -> Result<Target> {
        Session::target(self, deadline)
    }
}

/// How often a command asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// Once.
    Once,
    /// Repeatedly until it succeeds, or until the deadline if there is one (`--wait`).
    Wait { interval: Duration, deadline: Option<BootInstant> },
    /// Whenever the caller decides, without an end (`gateway keep`).
    Forever,
}

/// The requests of one command.
pub(crate) struct GatewayLookup<'a> {
    api: &'a dyn GatewayApi,
    /// When the process started.
    started: BootInstant,
    /// How long one request may take or, for a command that asks once, all requests together.
    deadline: Duration,
    schedule: Schedule,
    features: Mutex<Option<(BootInstant, NetworkStack)>>,
}

impl<'a> GatewayLookup<'a> {
    /// The requests of a command that started at `started`.
    pub(crate) fn new(
        api: &'a dyn GatewayApi,
        started: BootInstant,
        deadline: Duration,
        schedule: Schedule,
    ) -> GatewayLookup<'a> {
        GatewayLookup { api, started, deadline, schedule, features: Mutex::new(None) }
    }

    /// The deadline of a request that is sent now, and how many permits it leaves to others.
    fn deadline_and_reserved(&self) -> (BootInstant, usize) {
        let own = BootInstant::now() + self.deadline;
        match self.schedule {
            Schedule::Once => (self.started + self.deadline, 0),
            Schedule::Wait { deadline: Some(end), .. } => (own.min(end), RESERVED_PERMITS),
            Schedule::Wait { deadline: None, .. } | Schedule::Forever => (own, RESERVED_PERMITS),
        }
    }

    fn ask(&self, operation: Operation, format: Format) -> Result<Answer> {
        let (deadline, reserved) = self.deadline_and_reserved();
        self.api.ask(operation, format, deadline, reserved)
    }

    /// The gateway that is assigned.
    ///
    /// # Errors
    /// [`Kind::NotYet`] if no gateway is assigned; any other kind if that is not known.
    pub(crate) fn gateway(&self) -> Result<IpAddr> {
        match self.ask(Operation::Gateway, Format::Text)? {
            Answer::Body(bytes) => response::gateway(&bytes),
            Answer::NotFound(not_found) => Err(not_found.no_gateway()),
        }
    }

    /// Whether the gateway may be set now, according to the status and the features.
    ///
    /// # Errors
    /// They are not known.
    pub(crate) fn check_policy(&self) -> Result<Result<(), Refusal>> {
        let status = match self.ask(Operation::Status, Format::Text)? {
            Answer::Body(bytes) => Some(response::status(&bytes, Format::Text)?),
            Answer::NotFound(_) => None,
        };
        // The features do not matter then, and asking for them costs a request.
        if status == Some(Status::Deployed) {
            return Ok(Ok(()));
        }
        Ok(policy::check(status, self.network_stack()?))
    }

    fn network_stack(&self) -> Result<NetworkStack> {
        let known = *self.features.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, stack)) = known
            && self.schedule != Schedule::Once
            && BootInstant::now().since(since) < FEATURES_LIFETIME
        {
            return Ok(stack);
        }
        let stack = self.ask_network_stack()?;
        let mut known = self.features.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((BootInstant::now(), stack));
        Ok(stack)
    }

    fn ask_network_stack(&self) -> Result<NetworkStack> {
        let features = match self.ask(Operation::Features, Format::Json) {
            Ok(Answer::NotFound(_)) => return Ok(NetworkStack::Unclear),
            Ok(Answer::Body(bytes)) => response::features(&bytes),
            Err(err) => Err(err),
        };
        match features {
            Ok(features) => Ok(NetworkStack::of(&features)),
            Err(err) if err.kind == Kind::NotUnderstood => {
                log::warn!("{err}");
                Ok(NetworkStack::Unclear)
            }
            Err(err) => Err(err),
        }
    }

    /// The API as a destination of connections without a request.
    ///
    /// # Errors
    /// The settings are wrong.
    pub(crate) fn target(&self) -> Result<Target> {
        self.api.target(self.deadline())
    }

    /// The deadline of a question that is asked now.
    pub(crate) fn deadline(&self) -> BootInstant {
        self.deadline_and_reserved().0
    }

    /// The retries of `--wait`; none without it.
    pub(crate) fn retry(&self) -> Option<Retry> {
        match self.schedule {
            Schedule::Wait { interval, deadline } => {
                Some(Retry { interval, deadline, last_reason: String::new() })
            }
            Schedule::Once | Schedule::Forever => None,
        }
    }
}

/// Whether waiting can help.
pub(crate) fn may_pass(err: &Error) -> bool {
    matches!(err.kind, Kind::NotYet | Kind::RateLimited | Kind::Unreachable | Kind::NotUnderstood)
}

/// Waits between the attempts of `--wait`.
pub(crate) struct Retry {
    interval: Duration,
    deadline: Option<BootInstant>,
    last_reason: String,
}

impl Retry {
    /// Waits for the next attempt. False if the deadline has passed.
    pub(crate) fn wait(&mut self, reason: &str) -> bool {
        if self.last_reason != reason {
            log::info!("waiting: {reason}");
            reason.clone_into(&mut self.last_reason);
        }
        let next = BootInstant::now() + self.interval;
        let until = self.deadline.map_or(next, |deadline| deadline.min(next));
        thread::sleep(until.since(BootInstant::now()));
        self.deadline.is_none_or(|deadline| BootInstant::now() < deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request::NotFound;

    struct NoApi;

    impl GatewayApi for NoApi {
        fn ask(&self, _: Operation, _: Format, _: BootInstant, _: usize) -> Result<Answer> {
            Ok(Answer::NotFound(NotFound { url: String::new() }))
        }

        fn target(&self, _: BootInstant) -> Result<Target> {
            Err(Error::usage("no API"))
        }
    }

    fn limits_of_two_requests(schedule: Schedule) -> [(BootInstant, usize); 2] {
        let lookup =
            GatewayLookup::new(&NoApi, BootInstant::now(), Duration::from_secs(70), schedule);
        let first = lookup.deadline_and_reserved();
        thread::sleep(Duration::from_millis(2));
        [first, lookup.deadline_and_reserved()]
    }

    #[test]
    fn one_deadline_for_the_command_and_one_for_each_request_of_a_wait() {
        let [first, second] = limits_of_two_requests(Schedule::Once);
        assert_eq!((first, first.1), (second, 0));
        let interval = Duration::from_secs(5);
        for schedule in [Schedule::Forever, Schedule::Wait { interval, deadline: None }] {
            let [first, second] = limits_of_two_requests(schedule);
            assert!(
                first.0 < second.0 && first.1 == RESERVED_PERMITS && second.1 == RESERVED_PERMITS
            );
        }
        let deadline = Some(BootInstant::now() + Duration::from_secs(1));
        let [first, second] = limits_of_two_requests(Schedule::Wait { interval, deadline });
        assert_eq!(first, second);
    }
}
