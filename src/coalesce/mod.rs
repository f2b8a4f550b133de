//! One request for many processes: those that need the same response at the same time share it.
//!
//! For each **topic** (endpoint, trusted roots, operation and format) there is an abstract Unix
//! socket whose name holds the user id. The process that binds it is the **leader**. The others
//! connect, send their demand (one response now, or one per interval) and are
//! **followers**, which sleep in `poll`. The leader accepts them whenever it is awake and once more
//! just before the first byte of its request. The response goes to those accepted by then, which
//! asked before the request was sent, and to no other process: one that connects later waits in
//! the queue for the next request. When the leader ends, the kernel closes its sockets, which wakes
//! all followers, and the first to bind the name leads. This needs no thread, no file, and no
//! inotify instance (a user may have only 128).
//!
//! **A new subscription** does not wait for its interval: it has its first response as soon as the
//! shortest interval after the last request allows, and is told immediately if the rate limit
//! forbids a request. A one-shot request does not wait even that long.
//!
//! **A leader that is stopped** keeps its socket, so names have generations. Followers whose leader
//! is silent for the request timeout and a grace period move to the next generation for a minute,
//! and elect a leader there. A new process leads if it can bind the first name; otherwise it looks
//! for a leader in the newest generation first. A leader that sees a newer one follows it, unless
//! it has no room for more followers.
//!
//! **Trust.** The kernel says whose process is at the other end (SO_PEERCRED). A user's processes
//! share among themselves, and root shares with all users: other users try root's leader first. A
//! user that binds names and accepts no connection can only prevent sharing: the rate limit still
//! bounds the requests. Processes share the HTTP status code and the body, and each interprets them
//! itself.

mod demand;
mod election;
mod follower;
mod leader;
mod one_shot;
mod protocol;
mod response;
mod send;
mod socket;
mod subscription;

pub use one_shot::{OneShot, one_shot};
pub use protocol::Demand;
pub use response::{Event, Response};
pub use send::RequestSender;
pub use subscription::{Subscription, SubscriptionConfig};
