//! Depth first through every choice, without what was seen in another order before.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::log::letter;
use super::trace::Footprint;
use super::trace::Touch;

/// What happens at a point where several things may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This actor has the next turn.
    Run(usize),
    /// The actor whose turn it is dies.
    Crash,
    /// Time passes, though somebody could go on, until the first sleeper wakes.
    Wait,
}

/// What is chosen where it is not the first of what may happen, by the number of the point: `17B
/// 40~ 52!` gives actor B the turn at point 17, lets time pass at 40, and kills at 52.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Schedule(pub(super) Vec<(usize, Choice)>);

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (point, choice)) in self.0.iter().enumerate() {
            let gap = if number == 0 { "" } else { " " };
            match choice {
                Choice::Run(actor) => write!(f, "{gap}{point}{}", letter(*actor))?,
                Choice::Crash => write!(f, "{gap}{point}!")?,
                Choice::Wait => write!(f, "{gap}{point}~")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |word: &str| {
            let (point, choice) = word.split_at_checked(word.len() - 1)?;
            let choice = match choice.as_bytes()[0] {
                b'!' => Choice::Crash,
                b'~' => Choice::Wait,
                actor => Choice::Run(actor.checked_sub(b'A')?.into()),
            };
            Some((point.parse().ok()?, choice))
        };
        let words = text.split_whitespace().map(|word| parse(word).ok_or_else(|| word.to_owned()));
        words.collect::<Result<_, _>>().map(Self)
    }
}

/// A point at which several things might have happened.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) point: usize,
    /// Who was about to do something, unless it waits or has ended.
    pub(super) me: Option<usize>,
    /// What might happen, each with how many switches it costs.
    pub(super) options: Vec<(Choice, u32)>,
    pub(super) taken: usize,
    /// How many touches there were before.
    pub(super) from: usize,
    /// What `me` does next, up to the next decision, where that is its own.
    own: Option<Footprint>,
    /// What others do before `me` goes on, by option.
    others: Vec<Footprint>,
}

impl Decision {
    pub(super) fn new(
        point: usize,
        me: Option<usize>,
        options: Vec<(Choice, u32)>,
        taken: usize,
        from: usize,
    ) -> Self {
        let others = vec![Footprint::default(); options.len()];
        Self { point, me, options, taken, from, own: None, others }
    }

    /// Returns what others do after the option that is taken, if everything that follows it here
    /// follows it at `next`, too: the next decision of `me`, if it goes on.
    fn others_if_put_off(&self, next: &Self) -> Option<Footprint> {
        let own = self.own.as_ref().filter(|_| next.me == self.me)?;
        let (choice, _) = self.options[self.taken];
        let same = next.options.iter().position(|(other, _)| *other == choice)?;
        let others = &next.others[same];
        let is_put_off = match choice {
            // Whoever dies after looking around leaves what it leaves dying before.
            Choice::Crash => !own.has_changes(),
            Choice::Run(_) | Choice::Wait => own.commutes(others),
        };
        is_put_off.then(|| others.clone())
    }
}

/// The choices of the present schedule, and what is known of those before.
#[derive(Default)]
pub(super) struct Search {
    path: Vec<Decision>,
    /// Whether orders are run, too, that differ only in what does not matter.
    is_thorough: bool,
}

impl Search {
    pub(super) fn new(is_thorough: bool) -> Self {
        Self { path: Vec::new(), is_thorough }
    }

    /// Takes the decisions of one run, with all that was touched in it; `was_cut` where it did not
    /// come to its end.
    pub(super) fn add(&mut self, decisions: Vec<Decision>, touches: &[Touch], was_cut: bool) {
        let known = self.path.len();
        self.path.extend(decisions.into_iter().skip(known));
        for number in 0..self.path.len() {
            let end = self
                .path
                .get(number + 1)
                .filter(|next| next.me == self.path[number].me)
                .map(|next| next.from);
            let decision = &mut self.path[number];
            let Some(me) = decision.me else { continue };
            let after = &touches[decision.from..];
            if decision.taken == 0 {
                if let Some(end) = end.filter(|_| decision.own.is_none()) {
                    let own = &touches[decision.from..end];
                    // Nobody else had a turn in between, and no time passed.
                    let is_own = own.iter().all(|touch| touch.actor == me && !touch.is_time());
                    decision.own = is_own.then(|| Footprint::of(own));
                }
                continue;
            }
            let back = after.iter().position(|touch| touch.actor == me);
            let others = &mut decision.others[decision.taken];
            match back {
                Some(back) => others.add(&after[..back]),
                None if was_cut => others.add_everything(),
                None => others.add(after),
            }
        }
    }

    /// Returns the next schedule.
    pub(super) fn next(&mut self) -> Option<Schedule> {
        let mut next: Option<Decision> = None;
        while let Some(mut last) = self.path.pop() {
            while last.taken + 1 < last.options.len() {
                last.taken += 1;
                let put_off = next.as_ref().filter(|_| !self.is_thorough);
                let Some(others) = put_off.and_then(|next| last.others_if_put_off(next)) else {
                    self.path.push(last);
                    return Some(self.schedule());
                };
                last.others[last.taken] = others;
            }
            next = Some(last);
        }
        None
    }

    /// Returns the present schedule.
    pub(super) fn schedule(&self) -> Schedule {
        let taken = self.path.iter().filter(|decision| decision.taken > 0);
        Schedule(taken.map(|decision| (decision.point, decision.options[decision.taken].0)).collect())
    }
}

/// What was seen, with how many switches were left to go on from there.
#[derive(Default)]
pub(super) struct Seen {
    situations: HashMap<u64, u32>,
    /// Whether everything is news.
    is_thorough: bool,
}

impl Seen {
    pub(super) fn new(is_thorough: bool) -> Self {
        Self { situations: HashMap::new(), is_thorough }
    }

    /// Remembers a situation; `false` when everything that may follow was seen already.
    pub(super) fn is_news(&mut self, situation: u64, left: u32) -> bool {
        match self.situations.get(&situation) {
            Some(before) if *before >= left => self.is_thorough,
            _ => {
                self.situations.insert(situation, left);
                true
            }
        }
    }
}
