//! What is done to the routes, as data, and what undoes it. Pure.
//!
//! The plan touches the main table's default routes and nothing else. The new route is added in front of the one in effect,
//! at the same metric, and only then is that one removed, exactly, with all others of that metric: there is no moment without a default route, and a route
//! that somebody else changed in between is never overwritten (as REPLACE would), because its removal then fails and all is
//! undone.

use std::fmt::Write;
use std::net::Ipv4Addr;

use nix::libc;

use crate::netlink::Route;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a route, in front of its twins.
    Add(Route),
    /// Adds a route behind its twins: only to put it back.
    Append(Route),
    /// Removes exactly that route.
    Remove(Route),
}

/// Everything that is done, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub changes: Vec<Change>,
    /// The route that carries the traffic afterwards.
    pub wanted: Route,
    /// The default routes that it was made for.
    pub before: Vec<Route>,
}

/// Whether `route` sends through that gateway on that interface.
pub fn is_through(route: &Route, gateway: Ipv4Addr, interface: u32) -> bool {
    route.is_plain() && route.gateway == Some(gateway.into()) && route.interface == Some(interface)
}

/// Plans how `gateway` on `interface` becomes the default gateway. `defaults`: the main table's default routes, the one in
/// effect in front. `keep_old`: the metric at which the replaced route is kept as a fallback.
///
/// # Errors
/// A sentence that says why it cannot be done.
pub fn plan(
    defaults: &[Route],
    gateway: Ipv4Addr,
    interface: u32,
    keep_old: Option<u32>,
) -> Result<Plan, String> {
    let before = defaults.to_vec();
    let Some(old) = defaults.first() else {
        let wanted = Route::default_via(gateway, interface, 0);
        return Ok(Plan { changes: vec![Change::Add(wanted.clone())], wanted, before });
    };
    // The kernel takes turns among default routes of one metric (fib_select_default in net/ipv4), so that ours has to be alone.
    let twins = || defaults.iter().filter(|route| route.metric == old.metric);
    if let Some(strange) = twins().find(|route| !route.is_plain()) {
        // It stays where it is; ours goes in front of it if there is room.
        if old.metric == 0 {
            return Err(format!(
                "{} has several next hops, or is none that sends anything: it is not touched, and at metric 0 nothing can go in \
                 front of it",
                show(strange, &|_| None)
            ));
        }
        let wanted = Route::default_via(gateway, interface, 0);
        return Ok(Plan { changes: vec![Change::Add(wanted.clone())], wanted, before });
    }
    // Where it is there, it stays: the kernel adds no route twice.
    let there = twins().find(|route| is_through(route, gateway, interface));
    let wanted =
        there.cloned().unwrap_or_else(|| Route::default_via(gateway, interface, old.metric));
    let mut changes = Vec::new();
    if let Some(metric) = keep_old.filter(|_| !is_through(old, gateway, interface)) {
        if metric <= old.metric {
            return Err(format!(
                "--keep-old-metric {metric} does not come after metric {}, at which the new route goes",
                old.metric
            ));
        }
        let kept = old.at_metric(metric);
        match defaults.iter().find(|route| route.metric == metric) {
            None => changes.push(Change::Add(kept)),
            Some(there) if *there == kept => {}
            Some(_) => {
                return Err(format!("there is another default route at metric {metric} already"));
            }
        }
    }
    if there.is_none() {
        changes.push(Change::Add(wanted.clone()));
    }
    // From both ends towards ours, so that however far this comes, what is left is in its order and what went comes back to
    // its place.
    let ours = twins().position(|route| *route == wanted).unwrap_or(usize::MAX);
    let (in_front, behind): (Vec<_>, Vec<_>) =
        twins().enumerate().partition(|(place, _)| *place < ours);
    let removed =
        in_front.into_iter().chain(behind.into_iter().rev()).filter(|(place, _)| *place != ours);
    changes.extend(removed.map(|(_, route)| Change::Remove(route.clone())));
    let plan = Plan { changes, wanted, before };
    // What cannot be undone exactly is not begun.
    let there = after(&plan.changes, defaults)?;
    match after(&undo(&plan.changes, &plan.wanted, &plan.before, &there), &there)? == *defaults {
        true => Ok(plan),
        false => Err("the default routes that are there could not be put back exactly".to_owned()),
    }
}

/// The default routes as the kernel has them after `changes` to those of `before`.
///
/// # Errors
/// A sentence that says which of them the kernel cannot remove without another, because it takes that one for the same.
pub fn after(changes: &[Change], before: &[Route]) -> Result<Vec<Route>, String> {
    let mut table = before.to_vec();
    for change in changes {
        match change {
            Change::Add(route) if table.contains(route) => {}
            Change::Add(route) => {
                let place = table
                    .iter()
                    .position(|other| other.metric >= route.metric)
                    .unwrap_or(table.len());
                table.insert(place, route.clone());
            }
            Change::Append(route) => {
                let place = table
                    .iter()
                    .position(|other| other.metric > route.metric)
                    .unwrap_or(table.len());
                table.insert(place, route.clone());
            }
            Change::Remove(route) => match table.iter().position(|other| route.may_match(other)) {
                Some(place) if table[place] == *route => drop(table.remove(place)),
                Some(place) => {
                    let name = |_| None;
                    return Err(format!(
                        "{} cannot be removed: the kernel takes {} for the same",
                        show(route, &name),
                        show(&table[place], &name)
                    ));
                }
                None => {}
            },
        }
    }
    Ok(table)
}

/// What undoes `changes`, which were made where the default routes were `before`, where they are `present` now. A route is put
/// back only where the present one is still ours, or where nobody else's has taken its place; what was added is removed
/// wherever it is still there.
pub fn undo(
    changes: &[Change],
    wanted: &Route,
    before: &[Route],
    present: &[Route],
) -> Vec<Change> {
    let is_added = |route: &Route| changes.contains(&Change::Add(route.clone()));
    let is_foreign =
        |route: &&Route| !before.contains(route) && !is_added(route) && *route != wanted;
    let first_foreign = present.iter().filter(is_foreign).map(|route| route.metric).min();
    let is_free = |old: &Route| {
        present.contains(wanted) || first_foreign.is_none_or(|metric| metric > old.metric)
    };
    let comes_back = |old: &Route| is_free(old) && !present.contains(old);
    // What was behind ours, which was there already, comes back behind it.
    let place = |route: &Route| before.iter().position(|other| other == route);
    let is_behind = |old: &Route| {
        place(wanted).is_some_and(|ours| place(old).is_some_and(|place| place > ours))
    };
    let behind = changes.iter().rev().filter_map(|change| match change {
        Change::Remove(route) if comes_back(route) && is_behind(route) => {
            Some(Change::Append(route.clone()))
        }
        _ => None,
    });
    let others = changes.iter().rev().filter_map(|change| match change {
        Change::Add(route) if present.contains(route) => Some(Change::Remove(route.clone())),
        Change::Remove(route) if comes_back(route) && !is_behind(route) => {
            Some(Change::Add(route.clone()))
        }
        _ => None,
    });
    behind.chain(others).collect()
}

/// Whether ours is gone from the default routes `present`, and somebody else's, which neither was there before nor is a
/// fallback that was added, is in effect.
pub fn is_taken(plan: &Plan, present: &[Route]) -> bool {
    let is_foreign = |route: &Route| {
        !plan.before.contains(route) && !plan.changes.contains(&Change::Add(route.clone()))
    };
    !present.contains(&plan.wanted) && present.first().is_some_and(is_foreign)
}

/// Whether `changes` are in effect among the default routes `present`.
pub fn is_done(changes: &[Change], present: &[Route]) -> bool {
    changes.iter().all(|change| match change {
        Change::Add(route) | Change::Append(route) => present.contains(route),
        Change::Remove(route) => !present.contains(route),
    })
}

/// Whether the default routes are again as `changes` found them: all that was removed is there, nothing that was added is.
pub fn is_undone(changes: &[Change], present: &[Route]) -> bool {
    changes.iter().all(|change| match change {
        Change::Add(route) | Change::Append(route) => !present.contains(route),
        Change::Remove(route) => present.contains(route),
    })
}

/// A route in the words of `ip route`. `name`: the name of an interface.
pub fn show(route: &Route, name: &dyn Fn(u32) -> Option<String>) -> String {
    let mut text = match route.kind {
        libc::RTN_UNICAST => String::new(),
        libc::RTN_BLACKHOLE => "blackhole ".to_owned(),
        libc::RTN_UNREACHABLE => "unreachable ".to_owned(),
        libc::RTN_PROHIBIT => "prohibit ".to_owned(),
        other => format!("type {other} "),
    };
    text.push_str("default");
    if !route.one_hop {
        text.push_str(" by several next hops");
    }
    if let Some(gateway) = route.gateway {
        let _ = write!(text, " via {gateway}");
    }
    if let Some(interface) = route.interface {
        let _ = write!(text, " dev {}", name(interface).unwrap_or_else(|| format!("#{interface}")));
    }
    let _ = write!(text, " proto {}", protocol(route.protocol));
    if let Some(source) = route.source {
        let _ = write!(text, " src {source}");
    }
    if route.metric != 0 {
        let _ = write!(text, " metric {}", route.metric);
    }
    text
}

/// The name of a route's maker. Source: iproute2, `etc/iproute2/rt_protos`.
pub fn protocol(number: u8) -> String {
    match number {
        libc::RTPROT_KERNEL => "kernel".to_owned(),
        libc::RTPROT_BOOT => "boot".to_owned(),
        libc::RTPROT_STATIC => "static".to_owned(),
        9 => "ra".to_owned(),
        16 => "dhcp".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
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

    fn changes(defaults: &[Route], keep_old: Option<u32>) -> Result<Vec<Change>, String> {
        plan(defaults, GATEWAY, 3, keep_old).map(|plan| plan.changes)
    }

    use Change::{Add, Remove};

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
        // Twins: ours is there, but not alone.
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
    fn what_is_not_understood_is_not_touched() {
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

    /// The second of two behind ours came back in front of the first, where only one of them was gone.
    #[test]
    fn what_is_half_done_is_undone_in_its_order() {
        let before =
            [1, 2, 3].map(|last| Route::default_via(Ipv4Addr::new(198, 51, 100, last), 2, 0));
        let before = [&before[..1], &[ours(0)], &before[1..]].concat();
        let plan = plan(&before, GATEWAY, 3, None).unwrap();
        for steps in 0..=plan.changes.len() {
            let present = after(&plan.changes[..steps], &before).unwrap();
            let undo = undo(&plan.changes, &plan.wanted, &plan.before, &present);
            assert_eq!(after(&undo, &present).unwrap(), before, "after {steps} steps");
        }
    }

    #[test]
    fn a_fallback_needs_a_place_of_its_own_behind() {
        assert!(changes(&[public(100)], Some(100)).unwrap_err().contains("does not come after"));
        assert!(
            changes(&[public(0), ours(7)], Some(7)).unwrap_err().contains("another default route")
        );
    }

    /// The table as the kernel would have it after a step.
    fn apply(table: &mut Vec<Route>, change: &Change) {
        *table = after(std::slice::from_ref(change), table).unwrap();
    }

    #[test]
    fn what_the_kernel_cannot_tell_apart_is_not_begun() {
        // A default without a gateway, of scope and protocol like ours: to remove it would remove ours.
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
                .contains("takes default via 10.182.127.198")
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
        /// Ours is in effect at the end, there is never no default where there was one, strange routes stay, and the undo
        /// from after any number of steps brings back exactly what was there.
        #[test]
        fn any_table_is_changed_and_restored(before in routes(), keep in proptest::option::of(0..9u32), steps in 0..5usize) {
            let Ok(plan) = plan(&before, GATEWAY, 3, keep) else { return Ok(()) };
            let mut table = before.clone();
            for change in &plan.changes {
                apply(&mut table, change);
                prop_assert!(!table.is_empty());
            }
            prop_assert!(is_through(&table[0], GATEWAY, 3));
            prop_assert_eq!(&table[0], &plan.wanted);
            prop_assert!(table[1..].iter().all(|route| route.metric > table[0].metric), "ours is not alone: {:?}", table);
            for route in before.iter().filter(|route| !route.is_plain()) {
                prop_assert!(table.contains(route));
            }
            let mut table = before.clone();
            plan.changes.iter().take(steps).for_each(|change| apply(&mut table, change));
            for change in undo(&plan.changes, &plan.wanted, &before, &table.clone()) {
                apply(&mut table, &change);
                prop_assert!(!table.is_empty() || before.is_empty());
            }
            prop_assert_eq!(table, before);
        }
    }

    #[test]
    fn nothing_is_put_back_over_what_another_put_there() {
        let plan = plan(&[public(0)], GATEWAY, 3, Some(500)).unwrap();
        let other = Route::default_via(Ipv4Addr::new(192, 0, 2, 1), 2, 0);
        let kept = public(0).at_metric(500);
        let undo = |present: &[Route]| undo(&plan.changes, &plan.wanted, &plan.before, present);
        assert_eq!(undo(&[other.clone(), kept.clone()]), [Remove(kept.clone())]);
        assert!(is_taken(&plan, &[other.clone(), kept.clone()]));
        assert!(!is_taken(&plan, &[kept.clone(), other.at_metric(700)]));
        assert!(!is_taken(&plan, &[ours(0), other.clone()]) && !is_taken(&plan, &[]));
        // But where ours was lost, and nobody else's is in its place, the old one comes back.
        assert_eq!(undo(&[]), [Add(public(0))]);
        assert_eq!(undo(&[kept.clone(), other.at_metric(700)]), [Add(public(0)), Remove(kept)]);
    }

    #[test]
    fn shown_as_ip_does() {
        let name = |index| (index == 2).then(|| "eth0".to_owned());
        assert_eq!(
            show(&public(100), &name),
            "default via 198.51.100.1 dev eth0 proto static metric 100"
        );
        assert_eq!(show(&ours(0), &name), "default via 10.182.127.198 dev #3 proto static");
    }
}
