//! One question, one request: processes that want the same thing at the same time share one answer.
//!
//! For each question (endpoint, trusted roots, operation and format) there is an abstract Unix socket whose name holds
//! the user id. Whoever can bind it is the **leader**; the others connect, say what they want (an answer at once, or one
//! every so often), and are **followers**, who sleep in `poll`. The leader accepts them whenever it is awake and once
//! more just before the first byte of its request; what comes of the request goes to those accepted until then, who have
//! asked before it was sent, and to nobody else: who connects later waits in the queue for the next. When the leader
//! dies, the kernel closes its sockets, which wakes all followers, and the first to bind the name leads. (No thread, no
//! file, no disk, and no inotify, of which a user has but 128.)
//!
//! **Who joins** a question that stands does not wait for its interval: it has its first answer as soon as the shortest
//! interval after the last question allows, and is told at once if nothing may be asked now. One that has not even that
//! much time asks for an answer at once.
//!
//! **A leader that is stopped** keeps its socket, so names have generations. Followers whose leader says nothing for a
//! request's time and a second go on to the next generation for a minute, and lead there. Who is new looks at the highest
//! generation first; a leader who sees a higher one steps down and follows.
//!
//! **Trust.** The kernel says whose the other end is (SO_PEERCRED). Users share with themselves, and root with
//! everybody: others try root's leader first. A leader in another user's hands costs the sharing, nothing else; the
//! budget bounds whatever is asked. What is shared is the code and the body; what follows from them each finds itself.

mod election;
mod protocol;
mod subscription;

pub use election::{Follower, Leader, Question, Said, Seat};
pub use protocol::{Heard, Wish};
pub use subscription::Standing;

use std::time::Duration;

use crate::api::client::{Client, Failure};
use crate::clock::BootInstant;
use crate::model::{Format, Operation};

/// How much longer than a request's time a leader may be silent.
const GRACE: Duration = Duration::from_secs(1);

/// Asks now, or has it from others who ask now. `deadline` is the deadline of a request of one's own that begins at a
/// moment; waiting for others ends at `end`. Answers with what came of it and with when it was asked.
pub fn ask_now(
    client: &Client,
    operation: Operation,
    format: Format,
    reserve: usize,
    deadline: &dyn Fn(BootInstant) -> BootInstant,
    end: BootInstant,
) -> Heard {
    let mut question = client.question(operation, format);
    let wish = Wish { every: None, reserve, is_new: true };
    let patience = client.request_timeout() + GRACE;
    loop {
        let mut seat = question.join(wish, end.min(BootInstant::now() + patience));
        let Seat::Follower(follower) = &mut seat else {
            let mut leader = match seat {
                Seat::Leader(leader) => Some(leader),
                _ => None,
            };
            let asked = BootInstant::now();
            let reply = client.request(operation, format, deadline(asked), reserve, &mut leader);
            let heard = Heard { operation, format, asked, reply };
            if let Some(mut leader) = leader {
                leader.tell(&heard, reserve);
            }
            client.learn(&heard);
            return heard;
        };
        let give_up = end.min(BootInstant::now() + patience);
        loop {
            match follower.listen(give_up, None) {
                Said::Heard(heard) if (heard.operation, heard.format) == (operation, format) => {
                    return heard;
                }
                Said::Heard(_) => {}
                Said::Gone => {
                    question.gone(follower);
                    break;
                }
                Said::Nothing | Said::Bell => {
                    let now = BootInstant::now();
                    if now >= end {
                        return Heard {
                            operation,
                            format,
                            asked: now,
                            reply: Err(Failure::Unheard),
                        };
                    }
                    log::debug!(
                        "process {} asks the same and is silent: asking here",
                        follower.pid()
                    );
                    question.pass_over(follower);
                    break;
                }
            }
        }
    }
}
