//! The plan of a change: which routes it adds and removes, and what undoes it. No I/O.
//!
//! A plan touches default routes of the main table only. The new route is added in front of the
//! one in use, at its metric; then every other route of that metric is removed, each by all of its
//! attributes. So there is no moment without a default route, and a route that another process has
//! changed in between is never overwritten, as NLM_F_REPLACE would do: its removal fails, and the
//! change is undone.

use std::net::Ipv4Addr;

use super::names::{InterfaceNames, describe_route};
use crate::netlink::Route;

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteChange {
    /// Adds a route in front of those of its metric.
    Add(Route),
    /// Adds a route behind those of its metric; only in an undo.
    Append(Route),
    /// Removes exactly this route.
    Remove(Route),
}

impl RouteChange {
    /// The route that is added or removed.
    pub(crate) fn route(&self) -> &Route {
        match self {
            RouteChange::Add(route) | RouteChange::Append(route) | RouteChange::Remove(route) => {
                route
            }
        }
    }

    /// `+` or `-` and the route, as `gateway set` prints its plan.
    pub(crate) fn describe(&self, names: &InterfaceNames) -> String {
        let sign = match self {
            RouteChange::Add(_) | RouteChange::Append(_) => '+',
            RouteChange::Remove(_) => '-',
        };
        format!("{sign} {}", describe_route(self.route(), names))
    }
}

/// The steps of a change, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The steps.
    pub(crate) changes: Vec<RouteChange>,
    /// The default route in use afterwards.
    pub(crate) wanted: Route,
    /// The default routes that the plan was made for.
    pub(crate) before: Vec<Route>,
}

impl Plan {
    fn adding(wanted: Route, before: &[Route]) -> Plan {
        let changes = vec![RouteChange::Add(wanted.clone())];
        Plan { changes, wanted, before: before.to_vec() }
    }
}

/// Why no plan could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlanError {
    /// This route must not be removed, and no route can be added in front of it.
    NoRoomInFront(Route),
    /// `--keep-old-metric` would put the old route in front of the new one.
    KeptInFront { kept: u32, new: u32 },
    /// Another default route has the metric of `--keep-old-metric`.
    MetricTaken(u32),
    /// The kernel would remove the second route instead of the first.
    Ambiguous(Box<(Route, Route)>),
    /// The undo would not restore the routes exactly.
    NotReversible,
}

impl PlanError {
    /// The sentence for a person.
    pub(crate) fn describe(&self, names: &InterfaceNames) -> String {
        match self {
            PlanError::NoRoomInFront(route) => format!(
                "\"{}\" has several next hops or is not a unicast route, so it is not touched, and \
                 at metric 0 no route can go in front of it",
                describe_route(route, names)
            ),
            PlanError::KeptInFront { kept, new } => format!(
                "--keep-old-metric {kept} is not greater than {new}, the metric of the new route"
            ),
            PlanError::MetricTaken(metric) => {
                format!("another default route has metric {metric} (--keep-old-metric)")
            }
            PlanError::Ambiguous(routes) => format!(
                "\"{}\" cannot be removed: the kernel would remove \"{}\" instead",
                describe_route(&routes.0, names),
                describe_route(&routes.1, names)
            ),
            PlanError::NotReversible => {
                "the present default routes could not be restored exactly".to_owned()
            }
        }
    }
}

/// Whether `route` goes through `gateway` on `interface`.
pub(crate) fn leads_to(route: &Route, gateway: Ipv4Addr, interface: u32) -> bool {
    route.is_plain() && route.gateway == Some(gateway.into()) && route.interface == Some(interface)
}

/// Plans how `gateway` on `interface` becomes the default gateway. `defaults`: the default routes
/// of the main table, the one in use first. `keep_old`: the metric at which the replaced route is
/// kept as a fallback.
///
/// # Errors
/// See [`PlanError`].
pub(crate) fn plan(
    defaults: &[Route],
    gateway: Ipv4Addr,
    interface: u32,
    keep_old: Option<u32>,
) -> Result<Plan, PlanError> {
    let Some(old) = defaults.first() else {
        return Ok(Plan::adding(Route::default_via(gateway, interface, 0), defaults));
    };
    // The kernel alternates among default routes of one metric (fib_select_default in net/ipv4),
    // so the new route has to be the only one of its metric.
    let equals = || defaults.iter().filter(|route| route.metric == old.metric);
    if let Some(special) = equals().find(|route| !route.is_plain()) {
        // It stays; the new route goes in front of it if there is room.
        if old.metric == 0 {
            return Err(PlanError::NoRoomInFront(special.clone()));
        }
        return Ok(Plan::adding(Route::default_via(gateway, interface, 0), defaults));
    }
    // The kernel does not add the same route twice. If it exists, it stays where it is.
    let present = equals().find(|route| leads_to(route, gateway, interface));
    let wanted =
        present.cloned().unwrap_or_else(|| Route::default_via(gateway, interface, old.metric));
    let mut changes = Vec::new();
    if let Some(metric) = keep_old.filter(|_| !leads_to(old, gateway, interface)) {
        changes.extend(fallback(defaults, old, metric)?);
    }
    if present.is_none() {
        changes.push(RouteChange::Add(wanted.clone()));
    }
    changes.extend(removals(equals(), &wanted));
    let plan = Plan { changes, wanted, before: defaults.to_vec() };
    let done = after(&plan.changes, defaults)?;
    if after(&undo(&plan, &done), &done)? == *defaults {
        Ok(plan)
    } else {
        Err(PlanError::NotReversible)
    }
}

/// Keeps `old` at `metric`.
fn fallback(
    defaults: &[Route],
    old: &Route,
    metric: u32,
) -> Result<Option<RouteChange>, PlanError> {
    if metric <= old.metric {
        return Err(PlanError::KeptInFront { kept: metric, new: old.metric });
    }
    let kept = old.at_metric(metric);
    match defaults.iter().find(|route| route.metric == metric) {
        None => Ok(Some(RouteChange::Add(kept))),
        Some(present) if *present == kept => Ok(None),
        Some(_) => Err(PlanError::MetricTaken(metric)),
    }
}

/// Removes all but `wanted`, from both ends towards it: after any number of steps the remaining
/// routes are still in their order, and the removed ones can return to their places.
fn removals<'a>(
    equals: impl Iterator<Item = &'a Route>,
    wanted: &Route,
) -> impl Iterator<Item = RouteChange> {
    let equals: Vec<&Route> = equals.collect();
    let own = equals.iter().position(|route| *route == wanted).unwrap_or(equals.len());
    let (in_front, rest) = equals.split_at(own);
    let behind = rest.iter().skip(1).rev();
    in_front
        .iter()
        .chain(behind)
        .map(|route| RouteChange::Remove((*route).clone()))
        .collect::<Vec<_>>()
        .into_iter()
}

/// The default routes as the kernel has them after `changes` to `before`.
///
/// # Errors
/// [`PlanError::Ambiguous`].
pub(crate) fn after(changes: &[RouteChange], before: &[Route]) -> Result<Vec<Route>, PlanError> {
    let mut table = before.to_vec();
    for change in changes {
        match change {
            RouteChange::Add(route) if table.contains(route) => {}
            RouteChange::Add(route) => {
                let front = table.iter().position(|other| other.metric >= route.metric);
                table.insert(front.unwrap_or(table.len()), route.clone());
            }
            RouteChange::Append(route) => {
                let end = table.iter().position(|other| other.metric > route.metric);
                table.insert(end.unwrap_or(table.len()), route.clone());
            }
            RouteChange::Remove(route) => {
                match table.iter().position(|other| route.may_match(other)) {
                    Some(index) if table[index] == *route => drop(table.remove(index)),
                    Some(index) => {
                        let routes = (route.clone(), table.remove(index));
                        return Err(PlanError::Ambiguous(Box::new(routes)));
                    }
                    None => {}
                }
            }
        }
    }
    Ok(table)
}

/// The steps that undo `plan` when the default routes are `present`. A removed route returns only
/// if the new one is still there, or if no route of another process has taken its place. An added
/// route is removed if it is still there.
pub(crate) fn undo(plan: &Plan, present: &[Route]) -> Vec<RouteChange> {
    let Plan { changes, wanted, before } = plan;
    let is_foreign = |route: &&Route| {
        *route != wanted
            && !before.contains(route)
            && !changes.iter().any(|change| is_add_of(change, route))
    };
    let has_wanted = present.contains(wanted);
    let first_foreign = if has_wanted {
        None
    } else {
        present.iter().filter(is_foreign).map(|route| route.metric).min()
    };
    let returns = |old: &Route| {
        first_foreign.is_none_or(|metric| metric > old.metric) && !present.contains(old)
    };
    // A route that was behind the wanted one, which existed already, returns behind it.
    let position = |route: &Route| before.iter().position(|other| other == route);
    let own = position(wanted);
    let was_behind =
        |old: &Route| own.is_some_and(|own| position(old).is_some_and(|other| other > own));
    let behind = changes.iter().rev().filter_map(|change| match change {
        RouteChange::Remove(route) if was_behind(route) && returns(route) => {
            Some(RouteChange::Append(route.clone()))
        }
        _ => None,
    });
    let others = changes.iter().rev().filter_map(|change| match change {
        RouteChange::Add(route) if present.contains(route) => {
            Some(RouteChange::Remove(route.clone()))
        }
        RouteChange::Remove(route) if !was_behind(route) && returns(route) => {
            Some(RouteChange::Add(route.clone()))
        }
        _ => None,
    });
    behind.chain(others).collect()
}

fn is_add_of(change: &RouteChange, route: &Route) -> bool {
    matches!(change, RouteChange::Add(added) if added == route)
}

/// Whether the wanted route is gone, and the one in use belongs to another process: it was neither
/// there before the change nor added as a fallback.
pub(crate) fn is_taken_over(plan: &Plan, present: &[Route]) -> bool {
    let is_foreign = |route: &Route| {
        !plan.before.contains(route) && !plan.changes.iter().any(|change| is_add_of(change, route))
    };
    !present.contains(&plan.wanted) && present.first().is_some_and(is_foreign)
}

/// Whether `changes` are in effect among the default routes `present`.
pub(crate) fn is_done(changes: &[RouteChange], present: &[Route]) -> bool {
    changes.iter().all(|change| match change {
        RouteChange::Add(route) | RouteChange::Append(route) => present.contains(route),
        RouteChange::Remove(route) => !present.contains(route),
    })
}

/// Whether `changes` are undone: all removed routes are there again, and no added one is left.
pub(crate) fn is_undone(changes: &[RouteChange], present: &[Route]) -> bool {
    changes.iter().all(|change| match change {
        RouteChange::Add(route) | RouteChange::Append(route) => !present.contains(route),
        RouteChange::Remove(route) => present.contains(route),
    })
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::*;
    use proptest::prelude::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 182, 127, 198);

    fn public(metric: u32) -> Route {
        Route::default_via(Ipv4Addr::new(198, 51, 100, 1), 2, metric)
    }

    fn ours(metric: u32) -> Route {
        Route::default_via(GATEWAY, 3, metric)
    }

    fn several(metric: u32) -> Route {
        let mut bytes = vec![2, 0, 0, 0, 254, 4, 0, libc::RTN_UNICAST, 0, 0, 0, 0];
        bytes.extend([4, 0, libc::RTA_MULTIPATH as u8, 0]);
        Route::read(&bytes).unwrap().at_metric(metric)
    }

    fn changes(defaults: &[Route], keep_old: Option<u32>) -> Result<Vec<RouteChange>, String> {
        plan(defaults, GATEWAY, 3, keep_old)
            .map(|plan| plan.changes)
            .map_err(|err| err.describe(&InterfaceNames::default()))
    }

    use RouteChange::{Add, Remove};

    #[test]
    fn plans() {
        assert_eq!(changes(&[], None), Ok(vec![Add(ours(0))]));
        assert_eq!(changes(&[ours(100), public(200)], None), Ok(vec![]));
        assert_eq!(
            changes(&[public(0), public(100)], None),
            Ok(vec![Add(ours(0)), Remove(public(0))])
        );
        assert_eq!(
            changes(&[public(100), ours(200)], None),
            Ok(vec![Add(ours(100)), Remove(public(100))])
        );
        // Ours is there already, with another route of the same metric.
        assert_eq!(changes(&[public(0), ours(0)], None), Ok(vec![Remove(public(0))]));
        assert_eq!(changes(&[ours(0), public(0)], None), Ok(vec![Remove(public(0))]));
        assert_eq!(
            changes(&[ours(0), public(0), public(9)], Some(500)),
            Ok(vec![Remove(public(0))])
        );
        let other = Route::default_via(Ipv4Addr::new(192, 0, 2, 1), 2, 0);
        assert_eq!(
            changes(&[public(0), other.clone(), public(9)], None),
            Ok(vec![Add(ours(0)), Remove(public(0)), Remove(other)])
        );
        assert_eq!(
            changes(&[public(0)], Some(500)),
            Ok(vec![Add(public(0).at_metric(500)), Add(ours(0)), Remove(public(0))])
        );
        assert_eq!(
            changes(&[public(0), public(0).at_metric(500)], Some(500)),
            Ok(vec![Add(ours(0)), Remove(public(0))])
        );
    }

    #[test]
    fn routes_that_are_not_plain_are_not_touched() {
        assert!(changes(&[several(0)], None).unwrap_err().contains("not touched"));
        assert_eq!(changes(&[several(100), public(200)], None), Ok(vec![Add(ours(0))]));
        assert_eq!(changes(&[public(7), several(7)], None), Ok(vec![Add(ours(0))]));
        assert_eq!(
            changes(&[public(0), several(7)], None),
            Ok(vec![Add(ours(0)), Remove(public(0))])
        );
        for strange in [
            &[public(0), several(0)][..],
            &[public(0), several(0), ours(0)],
            &[ours(0), several(0)],
        ] {
            assert!(changes(strange, None).unwrap_err().contains("not touched"));
        }
        let mut blackhole = public(0);
        blackhole.kind = libc::RTN_BLACKHOLE;
        assert!(changes(&[blackhole], None).is_err());
    }

    /// Of two routes behind ours, the second came back in front of the first if only the second had
    /// been removed.
    #[test]
    fn a_partial_change_is_undone_in_order() {
        let before =
            [1, 2, 3].map(|last| Route::default_via(Ipv4Addr::new(198, 51, 100, last), 2, 0));
        let before = [&before[..1], &[ours(0)], &before[1..]].concat();
        let plan = plan(&before, GATEWAY, 3, None).unwrap();
        for steps in 0..=plan.changes.len() {
            let present = after(&plan.changes[..steps], &before).unwrap();
            let undo = undo(&plan, &present);
            assert_eq!(after(&undo, &present).unwrap(), before, "after {steps} steps");
        }
    }

    #[test]
    fn a_fallback_needs_a_free_metric_behind() {
        assert!(
            changes(&[public(100)], Some(100)).unwrap_err().contains("is not greater than 100")
        );
        assert!(
            changes(&[public(0), ours(7)], Some(7)).unwrap_err().contains("another default route")
        );
    }

    /// The table as the kernel would have it after a step.
    fn apply(table: &mut Vec<Route>, change: &RouteChange) {
        *table = after(std::slice::from_ref(change), table).unwrap();
    }

    #[test]
    fn ambiguous_removals_are_not_planned() {
        // A default route without a gateway, of the scope and protocol of ours: the kernel would
        // take a request to remove it for one to remove ours.
        let mut bytes = vec![
            2,
            0,
            0,
            0,
            254,
            libc::RTPROT_STATIC,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        bytes.extend([8, 0, libc::RTA_OIF as u8, 0, 3, 0, 0, 0]);
        let bare = Route::read(&bytes).unwrap();
        assert!(
            changes(std::slice::from_ref(&bare), None)
                .unwrap_err()
                .contains("would remove \"default via 10.182.127.198")
        );
        assert!(changes(&[public(0), bare], None).is_err());
    }

    fn routes() -> impl Strategy<Value = Vec<Route>> {
        let route = (0..3u32, 0..4u32).prop_map(|(metric, which)| match which {
            0 => ours(metric),
            1 => several(metric),
            _ => Route::default_via(Ipv4Addr::new(198, 51, 100, which as u8), 2, metric),
        });
        proptest::collection::vec(route, 0..5).prop_map(|routes| {
            let mut table = Vec::new();
            routes.iter().for_each(|route| apply(&mut table, &Add(route.clone())));
            table
        })
    }

    proptest! {
        /// At the end ours is in effect. A server with a default route never lacks one, routes that
        /// are not plain stay, and an undo after any number of steps restores exactly the routes of
        /// before.
        #[test]
        fn any_table_is_changed_and_restored(before in routes(), keep in proptest::option::of(0..9u32), steps in 0..5usize) {
            let Ok(plan) = plan(&before, GATEWAY, 3, keep) else { return Ok(()) };
            let mut table = before.clone();
            for change in &plan.changes {
                apply(&mut table, change);
                prop_assert!(!table.is_empty());
            }
            prop_assert!(leads_to(&table[0], GATEWAY, 3));
            prop_assert_eq!(&table[0], &plan.wanted);
            prop_assert!(table[1..].iter().all(|route| route.metric > table[0].metric), "ours shares its metric: {:?}", table);
            for route in before.iter().filter(|route| !route.is_plain()) {
                prop_assert!(table.contains(route));
            }
            let mut table = before.clone();
            plan.changes.iter().take(steps).for_each(|change| apply(&mut table, change));
            for change in undo(&plan, &table.clone()) {
                apply(&mut table, &change);
                prop_assert!(!table.is_empty() || before.is_empty());
            }
            prop_assert_eq!(table, before);
        }
    }

    #[test]
    fn an_undo_does_not_override_another_process() {
        let plan = plan(&[public(0)], GATEWAY, 3, Some(500)).unwrap();
        let other = Route::default_via(Ipv4Addr::new(192, 0, 2, 1), 2, 0);
        let kept = public(0).at_metric(500);
        let undo = |present: &[Route]| undo(&plan, present);
        assert_eq!(undo(&[other.clone(), kept.clone()]), [Remove(kept.clone())]);
        assert!(is_taken_over(&plan, &[other.clone(), kept.clone()]));
        assert!(!is_taken_over(&plan, &[kept.clone(), other.at_metric(700)]));
        assert!(!is_taken_over(&plan, &[ours(0), other.clone()]) && !is_taken_over(&plan, &[]));
        // If ours was lost and no other one replaced it, the old one comes back.
        assert_eq!(undo(&[]), [Add(public(0))]);
        assert_eq!(undo(&[kept.clone(), other.at_metric(700)]), [Add(public(0)), Remove(kept)]);
    }
}
