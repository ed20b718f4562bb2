//! What happened, in order.

/// Something that promises are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The home holds this now.
    Home(Option<Vec<u8>>),
    /// A refresh token was sent, and answered with a successor or refused.
    Sent { token: String, successor: Option<String> },
    /// The answer to this refresh token is durable.
    Durable { token: String },
    /// A record was written for a login in a home of these bytes.
    Recorded { refresh_token: Option<String>, home: Vec<u8> },
    /// A logout is over.
    LoggedOut,
    /// The actor died.
    Crashed,
    /// The actor ended: with an access token, or with nothing to say, or not.
    Ended(Result<String, String>),
    /// The actor panicked.
    Panicked(String),
    /// The actor goes on for ever.
    Endless,
}

/// What happened, in order, and who did it.
#[derive(Default)]
pub(super) struct Log {
    pub(super) events: Vec<(usize, Event)>,
    /// Every step, where somebody is to read it.
    story: Option<Vec<String>>,
}

impl Log {
    /// Makes a log with every step in it.
    pub(super) fn with_story() -> Self {
        Self { story: Some(Vec::new()), ..Self::default() }
    }

    pub(super) fn push(&mut self, actor: usize, event: Event) {
        if let Some(story) = &mut self.story {
            story.push(format!("      {}     * {}", letter(actor), shown(&event)));
        }
        self.events.push((actor, event));
    }

    pub(super) fn sent_last_by(&self, actor: usize) -> Option<String> {
        self.events.iter().rev().find_map(|(sender, event)| match event {
            Event::Sent { token, .. } if *sender == actor => Some(token.clone()),
            _ => None,
        })
    }

    pub(super) fn see_home(&mut self, actor: usize, home: Option<Vec<u8>>) {
        let home = Event::Home(home);
        let last = self.events.iter().rev().find(|(_, event)| matches!(event, Event::Home(_)));
        if last.is_none_or(|(_, last)| *last != home) {
            self.push(actor, home);
        }
    }

    pub(super) fn tell(&mut self, actor: usize, point: usize, step: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{point:5} {} {}", letter(actor), step()));
        }
    }

    /// Returns every step, one a line.
    pub(super) fn story(&self) -> String {
        self.story.as_deref().unwrap_or_default().join("\n")
    }
}

fn shown(event: &Event) -> String {
    match event {
        Event::Home(Some(bytes)) => format!("home: {}", String::from_utf8_lossy(bytes)),
        Event::Recorded { refresh_token, home } => {
            format!("recorded for {refresh_token:?} in {}", String::from_utf8_lossy(home))
        }
        other => format!("{other:?}"),
    }
}

/// Returns what an actor is called in schedules and stories.
pub(super) fn letter(actor: usize) -> char {
    char::from(b'A' + u8::try_from(actor).unwrap())
}
