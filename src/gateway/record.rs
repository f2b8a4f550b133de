//! The record of a change that was made, or is about to be made: any process can undo it.

use std::fs;

use super::names::InterfaceNames;
use super::plan::{self, Plan, RouteChange};
use crate::clock::BootInstant;
use crate::model::Tree;
use crate::netlink::Route;
use crate::state::boot::boot_id;

/// The identity of the network namespace (namespaces(7)). Old kernels lack /proc/thread-self.
const NETWORK_NAMESPACE: &str = "/proc/self/ns/net";

/// The state of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeState {
    /// Not verified or not confirmed yet. If its process is gone, the next one that finds the
    /// record undoes it.
    Pending,
    /// Verified and, if required, confirmed. It is undone only on request.
    Kept,
}

/// A change and everything needed to undo it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangeRecord {
    /// Unique, even among changes that do the same.
    pub(crate) id: String,
    /// Its state.
    pub(crate) state: ChangeState,
    /// The boot it belongs to.
    pub(crate) boot: String,
    /// The network namespace it belongs to.
    pub(crate) namespace: String,
    /// The steps, and the routes of before.
    pub(crate) plan: Plan,
    /// The gateway, as text.
    pub(crate) gateway: String,
    /// The names of the plan's interfaces when it was made.
    pub(crate) interfaces: InterfaceNames,
    /// The change before this one, if it is kept or could not be undone. It can be undone after
    /// this one.
    pub(crate) earlier: Option<Box<ChangeRecord>>,
}

impl ChangeRecord {
    /// A pending record of this boot and network namespace.
    pub(crate) fn new(
        plan: Plan,
        gateway: String,
        names: &InterfaceNames,
        earlier: Option<ChangeRecord>,
    ) -> ChangeRecord {
        let (boot, namespace) = boot_and_namespace();
        let changed = plan.changes.iter().map(RouteChange::route);
        let interfaces =
            names.of_routes(changed.chain(&plan.before).chain(std::iter::once(&plan.wanted)));
        ChangeRecord {
            id: format!("{}-{}", std::process::id(), BootInstant::now().0.as_nanos()),
            state: ChangeState::Pending,
            boot,
            namespace,
            plan,
            gateway,
            interfaces,
            earlier: earlier.map(Box::new),
        }
    }

    /// Whether it is neither kept nor undone.
    pub(crate) fn is_pending(&self) -> bool {
        self.state == ChangeState::Pending
    }

    /// The steps that undo it when the default routes are `present`.
    pub(crate) fn undo(&self, present: &[Route]) -> Vec<RouteChange> {
        plan::undo(&self.plan, present)
    }

    /// The record of this change once it is kept. It takes over the removals of an earlier change
    /// if this one continues that: if the routes of the earlier change to the same gateway were
    /// lost without an undo, so that this one found no route to remove; or if the earlier change
    /// could not be undone, so that this one found only the route that it had added.
    pub(crate) fn kept(&self) -> ChangeRecord {
        let mut record = ChangeRecord { state: ChangeState::Kept, earlier: None, ..self.clone() };
        let Some(earlier) = &self.earlier else { return record };
        let could_not_be_undone = earlier.is_pending();
        let continues = if could_not_be_undone {
            self.plan.before.iter().all(|route| *route == earlier.plan.wanted)
        } else {
            self.plan.before.is_empty() && self.gateway == earlier.gateway
        };
        if continues {
            let is_removal = |change: &&RouteChange| matches!(change, RouteChange::Remove(_));
            let removed: Vec<_> = earlier.plan.changes.iter().filter(is_removal).cloned().collect();
            record.plan.before.clone_from(&earlier.plan.before);
            record.plan.changes.retain(|change| !is_removal(&change));
            record.plan.changes.extend(removed);
            let names = earlier.interfaces.iter().chain(self.interfaces.iter());
            record.interfaces = names.map(|(index, name)| (index, name.to_owned())).collect();
        }
        record
    }

    /// Whether another process has replaced the route when the default routes are `present`.
    pub(crate) fn is_taken_over(&self, present: &[Route]) -> bool {
        plan::is_taken_over(&self.plan, present)
    }

    /// Whether it belongs to this boot and network namespace.
    pub(crate) fn is_of_this_boot_and_namespace(&self) -> bool {
        (self.boot.clone(), self.namespace.clone()) == boot_and_namespace()
    }

    /// The record with the present indices of its interfaces. An interface that was deleted and
    /// created again has another index, and is found by its name.
    pub(crate) fn relocated(&self, present: &InterfaceNames) -> ChangeRecord {
        let relocate = |route: &Route| -> Route {
            let Some(index) = route.interface.filter(|index| present.get(*index).is_none()) else {
                return route.clone();
            };
            match self.interfaces.get(index).and_then(|name| present.index(name)) {
                Some(new) => route.on_interface(new),
                None => route.clone(),
            }
        };
        let mut record = self.clone();
        record.plan.wanted = relocate(&self.plan.wanted);
        record.plan.before = self.plan.before.iter().map(relocate).collect();
        for change in &mut record.plan.changes {
            let (RouteChange::Add(route) | RouteChange::Append(route) | RouteChange::Remove(route)) =
                change;
            *route = relocate(route);
        }
        let now = present.iter().map(|(index, name)| (index, name.to_owned()));
        let then = self.interfaces.iter().map(|(index, name)| (index, name.to_owned()));
        record.interfaces = now.chain(then).collect();
        record
    }

    /// The record as JSON. Keys are only ever added.
    pub(crate) fn to_json(&self) -> String {
        self.to_tree().to_json()
    }

    fn to_tree(&self) -> Tree {
        let text = |text: &str| Tree::Text(text.to_owned());
        let before = self.plan.before.iter().map(|route| Tree::Text(hex(&route.to_bytes())));
        let changes = self.plan.changes.iter().map(|change| {
            let key = match change {
                RouteChange::Add(_) | RouteChange::Append(_) => "add",
                RouteChange::Remove(_) => "remove",
            };
            Tree::Map(vec![(key.to_owned(), Tree::Text(hex(&change.route().to_bytes())))])
        });
        let interfaces =
            self.interfaces.iter().map(|(index, name)| (index.to_string(), text(name)));
        let state = match self.state {
            ChangeState::Pending => "pending",
            ChangeState::Kept => "kept",
        };
        let entries = [
            ("version", text("1")),
            ("id", text(&self.id)),
            ("state", text(state)),
            ("boot_id", text(&self.boot)),
            ("network_namespace", text(&self.namespace)),
            ("gateway", text(&self.gateway)),
            ("interfaces", Tree::Map(interfaces.collect())),
            ("wanted", Tree::Text(hex(&self.plan.wanted.to_bytes()))),
            ("before", Tree::List(before.collect())),
            ("changes", Tree::List(changes.collect())),
        ];
        let earlier = self.earlier.iter().map(|earlier| ("earlier", earlier.to_tree()));
        let entries = entries.into_iter().chain(earlier);
        Tree::Map(entries.map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Reads the output of [`ChangeRecord::to_json`]; none for anything else.
    pub(crate) fn from_json(json: &[u8]) -> Option<ChangeRecord> {
        ChangeRecord::from_tree(&Tree::from_json(json).ok()?)
    }

    fn from_tree(tree: &Tree) -> Option<ChangeRecord> {
        let text = |key: &str| tree.get(key)?.as_text();
        if text("version")? != "1" {
            return None;
        }
        let state = match text("state")? {
            "pending" => ChangeState::Pending,
            "kept" => ChangeState::Kept,
            _ => return None,
        };
        Some(ChangeRecord {
            id: text("id")?.to_owned(),
            state,
            plan: plan_from_tree(tree)?,
            boot: text("boot_id")?.to_owned(),
            namespace: text("network_namespace")?.to_owned(),
            gateway: text("gateway")?.to_owned(),
            interfaces: names_from_tree(tree.get("interfaces")),
            // If it cannot be read, this change can still be undone.
            earlier: tree.get("earlier").and_then(ChangeRecord::from_tree).map(Box::new),
        })
    }
}

fn plan_from_tree(tree: &Tree) -> Option<Plan> {
    let route = |hex: &Tree| Route::read(&unhex(hex.as_text()?)?).ok();
    let Tree::List(changes) = tree.get("changes")? else { return None };
    let changes = changes.iter().map(|change| match (change.get("add"), change.get("remove")) {
        (Some(added), None) => route(added).map(RouteChange::Add),
        (None, Some(removed)) => route(removed).map(RouteChange::Remove),
        _ => None,
    });
    let Tree::List(before) = tree.get("before")? else { return None };
    Some(Plan {
        changes: changes.collect::<Option<_>>()?,
        wanted: route(tree.get("wanted")?)?,
        before: before.iter().map(route).collect::<Option<_>>()?,
    })
}

fn names_from_tree(tree: Option<&Tree>) -> InterfaceNames {
    let Some(Tree::Map(entries)) = tree else { return InterfaceNames::default() };
    let name =
        |(index, name): &(String, Tree)| Some((index.parse().ok()?, name.as_text()?.to_owned()));
    entries.iter().filter_map(name).collect()
}

fn boot_and_namespace() -> (String, String) {
    let boot = boot_id().unwrap_or_default().to_owned();
    let namespace = fs::read_link(NETWORK_NAMESPACE);
    (boot, namespace.map(|link| link.display().to_string()).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    pub(crate) fn record() -> ChangeRecord {
        let old = Route::default_via(Ipv4Addr::new(198, 51, 100, 1), 2, 0);
        let new = Route::default_via(Ipv4Addr::new(10, 182, 127, 198), 3, 0);
        let changes = vec![RouteChange::Add(new.clone()), RouteChange::Remove(old.clone())];
        let plan = Plan { changes, wanted: new, before: vec![old] };
        let names = [(2, "eth0".to_owned()), (3, "eth1".to_owned()), (4, "eth2".to_owned())];
        let names = names.into_iter().collect();
        let record = ChangeRecord::new(plan, "10.182.127.198".to_owned(), &names, None);
        ChangeRecord { id: "7".to_owned(), ..record }
    }

    #[test]
    fn an_encoded_record_is_read_back() {
        let record = record();
        assert_eq!(record.interfaces.iter().count(), 2);
        assert_eq!(ChangeRecord::from_json(record.to_json().as_bytes()), Some(record.clone()));
        let kept = ChangeRecord { state: ChangeState::Kept, ..record.clone() };
        let second = ChangeRecord { earlier: Some(Box::new(kept)), ..record };
        assert_eq!(ChangeRecord::from_json(second.to_json().as_bytes()), Some(second));
    }

    /// `gateway rollback` and the guard knew the old device only by its index.
    #[test]
    fn an_interface_is_found_by_index_then_by_name() {
        let names = |names: &[(u32, &str)]| -> InterfaceNames {
            names.iter().map(|(index, name)| (*index, (*name).to_owned())).collect()
        };
        let record = record();
        let interface = |present: &[(u32, &str)]| {
            let relocated = record.relocated(&names(present));
            let RouteChange::Remove(old) = &relocated.plan.changes[1] else { panic!() };
            assert_eq!(relocated.plan.before, std::slice::from_ref(old));
            old.interface
        };
        assert_eq!(interface(&[(2, "eth0"), (3, "eth1")]), Some(2));
        // Renamed: the index stays.
        assert_eq!(interface(&[(2, "public"), (9, "eth0")]), Some(2));
        assert_eq!(interface(&[(3, "eth1"), (9, "eth0")]), Some(9));
        assert_eq!(interface(&[(3, "eth1")]), Some(2));
    }

    proptest! {
        #[test]
        fn reading_any_bytes_does_not_panic(json in "\\PC*", cut in 0..400usize) {
            let _ = ChangeRecord::from_json(json.as_bytes());
            let whole = record().to_json();
            let _ = ChangeRecord::from_json(&whole.as_bytes()[..cut.min(whole.len())]);
        }
    }
}
