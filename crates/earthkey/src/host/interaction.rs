//! The seam to the person: prompts, messages, the browser.

use std::fmt;
use std::io;

use url::Url;

use super::BoxFuture;

/// The person in front of the program, if there is one.
pub trait Interaction: Send + Sync {
    /// Returns whether somebody is there to answer a question.
    fn can_ask(&self) -> bool;

    /// Tells the person something. Must not block for long and cannot fail.
    fn tell(&self, notice: &Notice<'_>);

    /// Opens `url` in a browser and returns at once.
    fn open_browser(&self, url: &Url) -> io::Result<()>;

    /// Asks for one line.
    fn ask(&self, question: &str) -> BoxFuture<'_, io::Result<String>>;

    /// Asks for one line that is not shown.
    fn ask_hidden(&self, question: &str) -> BoxFuture<'_, io::Result<String>>;

    /// Shows that something is being waited for until the answer is dropped.
    fn waiting(&self, what: &str) -> Box<dyn Send>;
}

/// What a person is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// A page to open; with whom the person is about to share what.
    Visit {
        /// The authorization URL.
        url: &'a Url,
        /// Whether a browser of this machine has been asked to open it already.
        opened: bool,
    },
    /// A code to enter on another device (RFC 8628, section 3.3).
    Device {
        /// Where to enter it.
        verification_uri: &'a Url,
        /// The same with the code filled in.
        verification_uri_complete: Option<&'a Url>,
        /// The code.
        user_code: &'a str,
        /// How long it is valid, in seconds.
        expires_in: u64,
    },
    /// What was asked for by whom: printed above the page or the code.
    Request {
        /// The client's id.
        client_id: &'a str,
        /// The scopes.
        scopes: &'a [String],
    },
    /// A plain line.
    Line(&'a str),
    /// Something that is not right but does not stop the work.
    Warning(&'a str),
    /// One step of the story (`-v`).
    Story(&'a str),
    /// A request or an answer without its secrets (`-vvv`).
    Wire(fmt::Arguments<'a>),
}
