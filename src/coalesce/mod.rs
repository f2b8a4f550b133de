//! One request for many processes: those that ask the same at the same time share a response.
//!
//! For each **topic** (endpoint, trusted roots, operation and format) there is an abstract Unix
//! socket whose name holds the user id. The process that binds it is the **leader**. The others
//! connect, say what they need (one response at once, or one every so often) and are
//! **followers**, which sleep in `poll`. The leader accepts them whenever it is awake and once more
//! just before the first byte of its request. The response goes to those accepted by then, which
//! asked before the request was sent, and to no other process: one that connects later waits in
//! the queue for the next request. When the leader ends, the kernel closes its sockets, which wakes
//! all followers, and the first to bind the name leads. There is no thread, no file, and no
//! inotify, of which a user has only 128.
//!
//! **A new subscription** does not wait for its interval: it has its first response as soon as the
//! shortest interval after the last request allows, and is told at once if nothing may be sent now.
//! A one-shot request does not wait even that long.
//!
//! **A leader that is stopped** keeps its socket, so names have generations. Followers whose leader
//! is silent for the request timeout and a grace period move to the next generation for a minute,
//! and elect a leader there. A new process looks at the newest generation first, and a leader that
//! sees a newer one follows it.
//!
//! **Trust.** The kernel says whose process is at the other end (SO_PEERCRED). A user's processes
//! share among themselves, and root shares with all users: other users try root's leader first. A
//! user that takes names and accepts no connection costs the sharing, nothing else: the rate limit
//! bounds what is sent. What is shared is the HTTP status code and the body; each process
//! interprets them itself.

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
