//! A report for programs.

use serde_json::{Value, json};

use super::books::{Counts, Second};
use super::report::{CellReport, GroupReport, Report};
use crate::policy::protection::priority::Priority;
use crate::policy::protection::shed::Shed;

impl Report {
    /// All of it. Seconds are since the fault, but for curves, which are by second from the beginning: asked, served,
    /// refused here, failed.
    pub fn to_json(&self) -> Value {
        json!({
            "scenario": self.scenario.as_str(),
            "lost": self.what,
            "holds": self.holds(),
            "cells": self.cells.iter().map(cell).collect::<Vec<_>>(),
        })
    }
}

fn cell(cell: &CellReport) -> Value {
    let timeline = cell.timeline.iter().map(|line| json!({ "seconds": line.at, "what": line.what }));
    let like: Vec<&str> = cell.like.iter().map(|name| name.as_str()).collect();
    json!({
        "cell": cell.cell.as_str(),
        "alike": like,
        "hit": cell.is_hit,
        "holds": cell.finding.holds,
        "why": cell.finding.why,
        "advice": cell.finding.advice,
        "demand_rps": cell.demand,
        "left_rps": cell.left_rps,
        "classes": classes(&cell.all),
        "moving_classes": classes(&cell.moving),
        "settled_classes": classes(&cell.settled),
        "extra_lost": cell.extra_lost(),
        "groups": cell.groups.iter().map(group).collect::<Vec<_>>(),
        "well_after_seconds": cell.well_after,
        "thrashed_at_seconds": cell.collapses,
        "timeline": timeline.collect::<Vec<_>>(),
        "seconds": cell.curve,
    })
}

fn classes(second: &Second) -> Value {
    let of = |(priority, counts): (Priority, &Counts)| {
        let shed = Shed::ALL.into_iter().filter(|why| counts.shed[*why as usize] > 0);
        let shed: serde_json::Map<String, Value> =
            shed.map(|why| (why.label().to_owned(), counts.shed[why as usize].into())).collect();
        json!({
            "class": priority.as_str(), "asked": counts.asked, "new": counts.new, "served": counts.served,
            "new_served": counts.new_served, "failed": counts.failed, "waited": counts.waited, "shed": shed,
        })
    };
    Priority::ALL.into_iter().zip(second).map(of).collect()
}

fn group(group: &GroupReport) -> Value {
    json!({
        "zone": group.zone.as_str(), "lost": group.is_lost, "standby": group.stands_by,
        "capacity_rps": group.capacity_rps, "most_rps": group.most_rps, "most_moved_rps": group.moved_rps,
        "most_at_seconds": group.at,
    })
}
