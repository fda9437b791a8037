// SPDX-License-Identifier: Apache-2.0

//! Tasks on graphs: shortest routes, colourings of maps, and orders of work.

use super::{Level, Proved};
use crate::{
    draws::Draws,
    error::Rejection,
    words::{CODES, Solution, TOWNS, Words, code, is_code, listed},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Largest number of nodes that are checked.
const MAX_NODES: usize = 24;
/// Largest length of a road.
const MAX_LENGTH: i64 = 1_000_000;
/// Colours of maps.
const COLOURS: [&str; 5] = ["red", "green", "blue", "yellow", "white"];

/// A shortest route between two towns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Names of the towns.
    pub towns: Vec<String>,
    /// Roads: two towns, by number, and a length.
    pub roads: Vec<(usize, usize, i64)>,
    /// Towns of the route, by number, with both ends.
    pub path: Vec<usize>,
    /// Towns in the order of their distance from the start of the route, with these distances, up
    /// to the end of the route.
    pub reached: Vec<(usize, i64)>,
}

impl Route {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let count = 4 + level.index() + draws.below(2);
        let towns = draws
            .distinct_choice(count, TOWNS.len())
            .into_iter()
            .map(|town| TOWNS[town].to_owned())
            .collect();
        let mut roads = Vec::new();
        for town in 1..count {
            roads.push((draws.below(town), town, draws.distinct_range(2, 30)));
        }
        for _ in 0..count {
            let (a, b) = (draws.below(count), draws.below(count));
            let known = roads.iter().any(|&(x, y, _)| (x, y) == (a.min(b), a.max(b)));
            if a != b && !known {
                roads.push((a.min(b), a.max(b), draws.distinct_range(2, 60)));
            }
        }
        let ends = draws.below(count);
        let (from, to) = (ends, (ends + 1 + draws.below(count - 1)) % count);
        let (path, reached) = shortest(count, &roads, from, to);
        Self { towns, roads, path, reached }
    }
}

/// Returns a shortest path and the settled nodes with their distances (Dijkstra 1959).
fn shortest(
    count: usize,
    roads: &[(usize, usize, i64)],
    from: usize,
    to: usize,
) -> (Vec<usize>, Vec<(usize, i64)>) {
    let mut best: Vec<Option<(i64, usize)>> = vec![None; count];
    best[from] = Some((0, from));
    let mut reached: Vec<(usize, i64)> = Vec::new();
    let is_settled = |reached: &[(usize, i64)], town| reached.iter().any(|&(t, _)| t == town);
    while !is_settled(&reached, to) {
        let open = (0..count).filter(|&town| !is_settled(&reached, town));
        let next = open.filter_map(|town| best[town].map(|(length, _)| (length, town))).min();
        let Some((length, town)) = next else { break };
        reached.push((town, length));
        for &(a, b, road) in roads {
            let other = if a == town { b } else { a };
            if (a == town || b == town)
                && best[other].is_none_or(|(known, _)| length + road < known)
            {
                best[other] = Some((length + road, town));
            }
        }
    }
    let mut path = vec![to];
    while let Some(&last) = path.last()
        && last != from
    {
        path.push(best[last].map_or(from, |(_, before)| before));
    }
    path.reverse();
    (path, reached)
}

impl Route {
    fn length_between(&self, a: usize, b: usize) -> Option<i64> {
        let joins = |road: &&(usize, usize, i64)| (road.0, road.1) == (a.min(b), a.max(b));
        self.roads.iter().find(joins).map(|road| road.2)
    }

    fn name(&self, town: usize) -> &str {
        self.towns.get(town).map_or("", String::as_str)
    }
}

fn are_distinct<T: Ord>(items: &[T]) -> bool {
    items.iter().collect::<BTreeSet<_>>().len() == items.len()
}

impl Proved for Route {
    /// Checks the optimality by linear duality: no road joins towns whose distances differ by more
    /// than its length, so no path is shorter than the difference of the distances of its ends.
    fn check(&self) -> Result<(), Rejection> {
        let count = self.towns.len();
        let known = count <= MAX_NODES
            && are_distinct(&self.towns)
            && self.towns.iter().all(|town| TOWNS.contains(&town.as_str()));
        Rejection::unless(known, "towns must be few, known, and different")?;
        let sound = |&(a, b, length): &(usize, usize, i64)| {
            a < b && b < count && (1..=MAX_LENGTH).contains(&length)
        };
        let pairs: Vec<_> = self.roads.iter().map(|road| (road.0, road.1)).collect();
        let few = self.roads.len() <= MAX_NODES * MAX_NODES;
        let roads = few && self.roads.iter().all(sound) && are_distinct(&pairs);
        Rejection::unless(roads, "a road is malformed or stands twice")?;
        let mut length = Some(0i64);
        for pair in self.path.windows(2) {
            length =
                length.zip(self.length_between(pair[0], pair[1])).map(|(sum, road)| sum + road);
        }
        let ends = self.path.first().copied().zip(self.path.last().copied());
        let (Some(length), Some((from, to))) = (length, ends) else {
            return Err(Rejection("the path takes a road that is not there".into()));
        };
        let target = self.reached.last().copied() == Some((to, length));
        let source = self.reached.first().copied() == Some((from, 0)) && from != to;
        Rejection::unless(target && source, "the distances do not belong to the path")?;
        let distinct: Vec<_> = self.reached.iter().map(|reached| reached.0).collect();
        let ordered = self.reached.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        let within =
            ordered && are_distinct(&distinct) && distinct.iter().all(|&town| town < count);
        Rejection::unless(within, "the distances are out of order")?;
        // Towns that were not reached are at least as far as the end.
        let distance = |town| {
            self.reached.iter().find(|reached| reached.0 == town).map_or(length, |found| found.1)
        };
        let tight =
            self.roads.iter().all(|&(a, b, road)| (distance(a) - distance(b)).abs() <= road);
        Rejection::unless(tight, "a shorter path may exist")
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let roads: Vec<String> = self
            .roads
            .iter()
            .map(|&(a, b, length)| format!("{} and {}: {length} km", self.name(a), self.name(b)))
            .collect();
        let names: Vec<&str> = self.path.iter().map(|&town| self.name(town)).collect();
        let (from, to) = (names.first().unwrap_or(&""), names.last().unwrap_or(&""));
        let length = self.reached.last().map_or(0, |reached| reached.1);
        let opening = words
            .pick(&[
                "These roads join the towns #:",
                "A map shows the towns # and the following roads.",
                "There are the towns #, with roads between some of them:",
            ])
            .replace('#', &listed(&self.towns, "and"));
        let asked = words
            .pick(&[
                "What is the shortest way from ~ to ^, and how long is it?",
                "Find the shortest route from ~ to ^ and its length.",
                "How do I get from ~ to ^ on the fewest kilometres?",
            ])
            .replace('~', from)
            .replace('^', to);
        let mut steps: Vec<String> = self
            .reached
            .iter()
            .map(|&(town, length)| match length {
                0 => format!("Start at {} with distance 0", self.name(town)),
                _ => format!(
                    "The nearest town not yet reached is {}, at {length} km",
                    self.name(town)
                ),
            })
            .collect();
        let legs: Vec<String> = self
            .path
            .windows(2)
            .map(|pair| self.length_between(pair[0], pair[1]).unwrap_or(0).to_string())
            .collect();
        steps.push(match legs.len() {
            1 => format!("The road from {from} to {to} is {length} km long"),
            _ => format!("The way is {} = {length} km long", legs.join(" + ")),
        });
        Solution {
            question: format!("{opening}\n{}\n{asked}", roads.join("\n")),
            steps,
            answer: format!("{}, {length} km", names.join(" - ")),
        }
    }
}

/// A map coloured with the fewest colours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Colouring {
    /// Names of the regions.
    pub regions: Vec<String>,
    /// Neighbours, by number, the smaller first.
    pub borders: Vec<(usize, usize)>,
    /// Colour of each region, by number.
    pub colours: Vec<usize>,
    /// Regions that all border each other, as many as there are colours.
    pub clique: Vec<usize>,
}

impl Colouring {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let count = 4 + level.index() + draws.below(2);
        let regions = draws
            .distinct_choice(count, TOWNS.len())
            .into_iter()
            .map(|town| TOWNS[town].to_owned())
            .collect();
        let mut draws = draws.detached();
        loop {
            let share = draws.pick(&[35, 45, 55]);
            let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
            let mut borders: Vec<_> = pairs.filter(|_| draws.chance(share)).collect();
            draws.shuffle(&mut borders);
            // Few graphs need more colours than their largest clique has nodes; those are left out.
            let found = (2..=COLOURS.len()).find_map(|number| {
                coloured(count, &borders, number).map(|colours| (number, colours))
            });
            if let Some((number, colours)) = found
                && let Some(clique) = clique(count, &borders, number)
            {
                return Self { regions, borders, colours, clique };
            }
        }
    }
}

/// Returns a colouring with `number` colours, by backtracking.
fn coloured(count: usize, borders: &[(usize, usize)], number: usize) -> Option<Vec<usize>> {
    let mut colours: Vec<usize> = vec![0];
    while colours.len() < count || !is_proper(&colours, borders) {
        if is_proper(&colours, borders) {
            colours.push(0);
            continue;
        }
        while *colours.last()? + 1 == number {
            colours.pop();
        }
        *colours.last_mut()? += 1;
    }
    Some(colours)
}

/// Returns `true` if no two coloured neighbours have the same colour.
fn is_proper(colours: &[usize], borders: &[(usize, usize)]) -> bool {
    borders.iter().all(|&(a, b)| match (colours.get(a), colours.get(b)) {
        (Some(first), Some(second)) => first != second,
        _ => true,
    })
}

/// Returns `size` nodes that are all neighbours of each other, by trying all sets.
fn clique(count: usize, borders: &[(usize, usize)], size: usize) -> Option<Vec<usize>> {
    (0..1u32 << count).filter(|set| set.count_ones() as usize == size).find_map(|set| {
        let nodes: Vec<usize> = (0..count).filter(|node| set >> node & 1 == 1).collect();
        is_clique(&nodes, borders).then_some(nodes)
    })
}

/// Returns `true` if all pairs of `nodes`, which are in ascending order, are neighbours.
fn is_clique(nodes: &[usize], borders: &[(usize, usize)]) -> bool {
    nodes
        .iter()
        .enumerate()
        .all(|(at, &a)| nodes.iter().skip(at + 1).all(|&b| a < b && borders.contains(&(a, b))))
}

impl Proved for Colouring {
    fn check(&self) -> Result<(), Rejection> {
        let count = self.regions.len();
        let known = count <= MAX_NODES
            && are_distinct(&self.regions)
            && self.regions.iter().all(|region| TOWNS.contains(&region.as_str()));
        let sound = known
            && self.borders.len() <= MAX_NODES * MAX_NODES
            && are_distinct(&self.borders)
            && self.borders.iter().all(|&(a, b)| a < b && b < count);
        Rejection::unless(sound, "the map is malformed")?;
        let proper = self.colours.len() == count
            && self.colours.iter().all(|&colour| colour < COLOURS.len())
            && is_proper(&self.colours, &self.borders);
        Rejection::unless(proper, "neighbours have the same colour")?;
        let used: BTreeSet<_> = self.colours.iter().collect();
        let least = used.len() == self.clique.len()
            && self.clique.iter().all(|&region| region < count)
            && is_clique(&self.clique, &self.borders);
        Rejection::unless(least, "fewer colours may suffice")
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let name = |region: usize| self.regions.get(region).map_or("", String::as_str);
        let borders: Vec<String> =
            self.borders.iter().map(|&(a, b)| format!("{} - {}", name(a), name(b))).collect();
        let asked = words.pick(&[
            "Neighbours must get different colours. How many colours are needed, and how can it be \
             done?",
            "Colour the map with as few colours as possible, so that no two neighbours have the \
             same colour.",
            "What is the smallest number of colours such that neighbours always differ? Give a \
             colouring.",
        ]);
        let colour = |region: usize| {
            let colour = self.colours.get(region).and_then(|&colour| COLOURS.get(colour));
            format!("{} {}", name(region), colour.unwrap_or(&""))
        };
        let clique: Vec<&str> = self.clique.iter().map(|&region| name(region)).collect();
        let all = if clique.len() > 2 { " all" } else { "" };
        let mut steps = vec![format!(
            "{}{all} border each other, so at least {} colours are needed",
            listed(&clique, "and"),
            clique.len()
        )];
        steps.extend((0..self.regions.len()).map(|region| {
            let before: Vec<&str> = (0..region)
                .filter(|&other| self.borders.contains(&(other, region)))
                .map(name)
                .collect();
            match before.len() {
                0 => format!("Colour {}", colour(region)),
                _ => format!(
                    "Colour {}, which differs from {}",
                    colour(region),
                    listed(&before, "and")
                ),
            }
        }));
        let all: Vec<String> = (0..self.regions.len()).map(colour).collect();
        Solution {
            question: format!(
                "A map has the regions {}. These are neighbours:\n{}\n{asked}",
                listed(&self.regions, "and"),
                borders.join("\n"),
            ),
            steps,
            answer: format!("{} colours: {}", clique.len(), all.join(", ")),
        }
    }
}

/// Jobs of which some must wait for others, in an order or with the circle that prevents one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Jobs, by code.
    pub jobs: Vec<String>,
    /// Pairs of jobs, by number: the second waits for the first.
    pub waits: Vec<(usize, usize)>,
    /// Order of all jobs, or jobs that wait for each other in a circle.
    pub plan: SchedulePlan,
}

/// Answer to the question for an order of jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SchedulePlan {
    /// Jobs in an order. Of several that are possible the one that was listed first comes first.
    Order(Vec<usize>),
    /// Each waits for the one before, and the first for the last.
    Circle(Vec<usize>),
}

impl Schedule {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let count = 4 + level.index() + draws.below(2);
        let jobs = draws.distinct_choice(count, CODES).into_iter().map(code).collect();
        let mut order: Vec<usize> = (0..count).collect();
        draws.shuffle(&mut order);
        let mut waits: Vec<(usize, usize)> = Vec::new();
        for later in 1..count {
            for _ in 0..1 + draws.below(2) {
                let pair = (order[draws.below(later)], order[later]);
                if !waits.contains(&pair) {
                    waits.push(pair);
                }
            }
        }
        if draws.chance(25) {
            // A job waits for one that, in the end, waits for it.
            let &(first, second) = &waits[draws.below(waits.len())];
            if !waits.contains(&(second, first)) {
                waits.push((second, first));
            }
        }
        draws.shuffle(&mut waits);
        let plan = sorted(count, &waits);
        Self { jobs, waits, plan }
    }

    fn name(&self, job: usize) -> &str {
        self.jobs.get(job).map_or("", String::as_str)
    }
}

/// Returns the jobs that wait for nothing but `done`, in the order of the list.
fn ready(count: usize, waits: &[(usize, usize)], done: &[usize]) -> Option<usize> {
    (0..count).find(|job| {
        !done.contains(job)
            && waits.iter().all(|(before, after)| after != job || done.contains(before))
    })
}

/// Sorts topologically (Kahn 1962), or finds a circle.
fn sorted(count: usize, waits: &[(usize, usize)]) -> SchedulePlan {
    let mut done = Vec::new();
    while let Some(job) = ready(count, waits, &done) {
        done.push(job);
    }
    let Some(start) = (0..count).find(|job| !done.contains(job)) else {
        return SchedulePlan::Order(done);
    };
    // Each job that is left waits for another that is left: following them leads into a circle.
    let mut trail = vec![start];
    while let Some(&last) = trail.last() {
        let before = waits.iter().find(|(before, after)| *after == last && !done.contains(before));
        let Some(&(before, _)) = before else { break };
        if let Some(at) = trail.iter().position(|&job| job == before) {
            trail.drain(..at);
            break;
        }
        trail.push(before);
    }
    trail.reverse();
    SchedulePlan::Circle(trail)
}

impl Proved for Schedule {
    fn check(&self) -> Result<(), Rejection> {
        let count = self.jobs.len();
        let known = (1..=MAX_NODES).contains(&count)
            && are_distinct(&self.jobs)
            && self.jobs.iter().all(|job| is_code(job));
        let sound = known
            && self.waits.len() <= MAX_NODES * MAX_NODES
            && self.waits.iter().all(|&(before, after)| before < count && after < count);
        Rejection::unless(sound, "the jobs are malformed")?;
        match &self.plan {
            SchedulePlan::Order(order) => {
                let place = |job: usize| order.iter().position(|&other| other == job);
                let whole = order.len() == count && (0..count).all(|job| place(job).is_some());
                let respected =
                    whole && self.waits.iter().all(|&(before, after)| place(before) < place(after));
                Rejection::unless(respected, "a job comes before one that it waits for")?;
                let first = (0..count)
                    .all(|at| ready(count, &self.waits, &order[..at]) == order.get(at).copied());
                Rejection::unless(first, "a job was possible that was listed earlier")
            }
            SchedulePlan::Circle(circle) => {
                let next = circle.iter().cycle().skip(1);
                let closed = !circle.is_empty()
                    && are_distinct(circle)
                    && circle.iter().zip(next).all(|(&a, &b)| self.waits.contains(&(a, b)));
                Rejection::unless(closed, "the circle is not closed")
            }
        }
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let waits: Vec<String> = self
            .waits
            .iter()
            .map(|&(before, after)| {
                words
                    .pick(&[
                        "~ must be done before ^.",
                        "^ can start only after ~.",
                        "^ waits for ~.",
                    ])
                    .replace('~', self.name(before))
                    .replace('^', self.name(after))
            })
            .collect();
        let asked = words.pick(&[
            "In which order can they be done, if of several possible jobs the one listed first \
             comes first?",
            "Give an order, taking the first of the list whenever several jobs are possible.",
        ]);
        let (steps, answer) = match &self.plan {
            SchedulePlan::Order(order) => {
                let step = |(at, &job): (usize, &usize)| {
                    let before: Vec<&str> = order[..at]
                        .iter()
                        .filter(|&&other| self.waits.contains(&(other, job)))
                        .map(|&other| self.name(other))
                        .collect();
                    match before.len() {
                        0 => format!("{} waits for nothing and is next", self.name(job)),
                        number => format!(
                            "{} is next, since {} {} done",
                            self.name(job),
                            listed(&before, "and"),
                            if number == 1 { "is" } else { "are" }
                        ),
                    }
                };
                let names: Vec<&str> = order.iter().map(|&job| self.name(job)).collect();
                (order.iter().enumerate().map(step).collect(), names.join(", "))
            }
            SchedulePlan::Circle(circle) => {
                let next = circle.iter().cycle().skip(1);
                let step = |(&before, &after): (&usize, &usize)| {
                    format!("{} waits for {}", self.name(after), self.name(before))
                };
                let mut steps: Vec<String> = circle.iter().zip(next).map(step).collect();
                steps.push("None of these can ever start".into());
                (steps, "there is no such order".to_owned())
            }
        };
        Solution {
            question: format!(
                "The jobs {} are to be done. {} {asked}",
                listed(&self.jobs, "and"),
                waits.join(" ")
            ),
            steps,
            answer,
        }
    }
}
