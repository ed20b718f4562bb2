//! The person of the demo: visits the sandbox's own pages over HTTP, as a browser would.

use std::io;
use std::sync::Mutex;

use earthkey::host::BoxFuture;
use earthkey::host::Interaction;
use earthkey::host::Notice;
use earthkey_sandbox::robot::Person;
use tokio::task::JoinHandle;
use url::Url;

/// The person of the demo.
#[derive(Default)]
pub(super) struct Robot {
    /// The page that is being visited; what it ends at is what is pasted.
    visit: Mutex<Option<JoinHandle<io::Result<String>>>>,
}

impl Robot {
    fn start(&self, person: Person, page: &Url) {
        let page = page.clone();
        let visit = tokio::spawn(async move {
            let visit = person.visit(page.as_str()).await.map_err(io::Error::other)?;
            let ended = visit.last_redirect.unwrap_or(visit.url);
            Ok(ended.to_string())
        });
        *self.visit.lock().expect("nothing panics while holding it") = Some(visit);
    }
}

impl Interaction for Robot {
    fn can_ask(&self) -> bool {
        true
    }

    fn tell(&self, notice: &Notice<'_>) {
        match notice {
            Notice::Device { verification_uri, user_code, .. } => {
                let person = Person { user_code: Some((*user_code).to_owned()), ..Person::ada() };
                self.start(person, verification_uri);
            }
            Notice::Visit { url, opened: false } => {
                self.start(Person::ada().stopping_at_foreign_redirect(), url);
            }
            _ => {}
        }
    }

    fn open_browser(&self, url: &Url) -> io::Result<()> {
        self.start(Person::ada(), url);
        Ok(())
    }

    fn ask(&self, _: &str) -> BoxFuture<'_, io::Result<String>> {
        let visit = self.visit.lock().expect("nothing panics while holding it").take();
        Box::pin(async move {
            match visit {
                Some(visit) => visit.await.map_err(io::Error::other)?,
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        })
    }

    fn ask_hidden(&self, question: &str) -> BoxFuture<'_, io::Result<String>> {
        self.ask(question)
    }

    fn waiting(&self, _: &str) -> Box<dyn Send> {
        Box::new(())
    }
}
