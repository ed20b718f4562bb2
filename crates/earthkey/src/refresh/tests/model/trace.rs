//! What happened before what: two orders of steps that have nothing to do with each other lead to
//! the same situation, and one of them is enough.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::path::Path;
use std::time::Duration;

/// A part of the world that actors share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Object {
    /// What a path leads to, by the path's hash.
    Name(u64),
    /// Which names there are.
    Directory,
    /// The bytes of a file, by its inode.
    Content(u64),
    /// The lock of a file, by its inode.
    Lock(u64),
    /// The provider, with what is known of what it did.
    Provider,
    /// The records that callers share.
    Records,
    /// Time.
    Clock,
}

impl Object {
    pub(super) fn name(path: impl AsRef<Path>) -> Self {
        let mut hasher = DefaultHasher::new();
        path.as_ref().as_os_str().as_encoded_bytes().hash(&mut hasher);
        Self::Name(hasher.finish())
    }
}

/// One look at an object, or change of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub(super) actor: usize,
    object: Object,
    is_change: bool,
}

impl Touch {
    /// Returns whether this is time that passes.
    pub(super) fn is_time(&self) -> bool {
        self.object == Object::Clock && self.is_change
    }
}

/// Every actor's history, as a hash of what it did and of everything that this depended on. Actors
/// do the same whenever they see the same, so equal histories are equal situations.
pub(super) struct Trace {
    actors: Vec<u64>,
    objects: HashMap<Object, Touched>,
    pub(super) touches: Vec<Touch>,
}

/// Who touched an object: the last change, and the looks since then, in any order.
#[derive(Clone, Copy, Default)]
struct Touched {
    changed: u64,
    looked: u64,
}

impl Trace {
    pub(super) fn new(actors: usize) -> Self {
        Self { actors: vec![0; actors], objects: HashMap::new(), touches: Vec::new() }
    }

    /// Adds a step of an actor.
    pub(super) fn touch(&mut self, actor: usize, what: &'static str, reads: &[Object], writes: &[Object]) {
        let mut hasher = DefaultHasher::new();
        (actor, self.actors[actor], what).hash(&mut hasher);
        for object in reads {
            self.touched(*object).changed.hash(&mut hasher);
        }
        for object in writes {
            let Touched { changed, looked } = self.touched(*object);
            (changed, looked).hash(&mut hasher);
        }
        let step = hasher.finish();
        for object in reads {
            self.objects.entry(*object).or_default().looked ^= step;
            self.touches.push(Touch { actor, object: *object, is_change: false });
        }
        for object in writes {
            self.objects.insert(*object, Touched { changed: step, looked: 0 });
            self.touches.push(Touch { actor, object: *object, is_change: true });
        }
        self.actors[actor] = step;
    }

    /// Notes that time has passed, for the sake of `actor`.
    pub(super) fn pass(&mut self, actor: usize, now: Duration) {
        let mut hasher = DefaultHasher::new();
        now.hash(&mut hasher);
        self.objects.insert(Object::Clock, Touched { changed: hasher.finish(), looked: 0 });
        self.touches.push(Touch { actor, object: Object::Clock, is_change: true });
    }

    /// Returns what names the situation, given who is about to do what.
    pub(super) fn signature(&self, present: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.actors, present).hash(&mut hasher);
        hasher.finish()
    }

    fn touched(&self, object: Object) -> Touched {
        self.objects.get(&object).copied().unwrap_or_default()
    }
}

/// What some steps touch between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Footprint {
    looks: BTreeSet<Object>,
    changes: BTreeSet<Object>,
    is_everything: bool,
}

impl Footprint {
    pub(super) fn of(touches: &[Touch]) -> Self {
        let mut footprint = Self::default();
        footprint.add(touches);
        footprint
    }

    pub(super) fn add(&mut self, touches: &[Touch]) {
        for touch in touches {
            let objects = if touch.is_change { &mut self.changes } else { &mut self.looks };
            objects.insert(touch.object);
        }
    }

    /// Makes this the footprint of steps that nobody knows.
    pub(super) fn add_everything(&mut self) {
        self.is_everything = true;
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty() || self.is_everything
    }

    /// Returns whether it does not matter which of the two comes first.
    pub(super) fn commutes(&self, other: &Self) -> bool {
        !self.is_everything
            && !other.is_everything
            && self.changes.is_disjoint(&other.changes)
            && self.changes.is_disjoint(&other.looks)
            && self.looks.is_disjoint(&other.changes)
    }
}
