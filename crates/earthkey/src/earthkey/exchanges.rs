//! Exchanges that outlive whoever asked for them.
//!
//! A future may be dropped at any moment: by a time-out, by a `select!`, by a framework that gives up on
//! a request. A grant that was sent cannot be called back, and its answer may hold the only refresh token
//! that is left. So exchanges run on a thread of their own, and whoever asked merely waits for them. One
//! that nobody waits for any more ends at once if its grant is not on its way, else with the answer kept.
//! One whose callers were served a token that is still valid goes on to its end.

use std::collections::BTreeMap;
use std::future::Future;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::panic;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::error::Result;
use crate::host::Host;
use crate::host::Http;
use crate::host::Process;
use crate::host::process::Owner;
use crate::host::process::Peer;
use crate::refresh::Access;

/// The thread, begun when it is needed first. Dropping this waits for what is under way.
pub(super) struct Exchanges {
    host: Host,
    worker: Mutex<Option<Worker>>,
    /// The exchanges that somebody waits for, by what was asked for.
    under_way: Mutex<BTreeMap<String, Weak<Outcome<Answer>>>>,
}

struct Worker {
    /// The process that began the thread: a forked child has inherited no thread.
    pid: u32,
    tasks: mpsc::UnboundedSender<Task>,
    http: Arc<dyn Http>,
    thread: JoinHandle<()>,
}

/// How long those who have a token that is still valid wait for another.
const PATIENCE: Duration = Duration::from_secs(5);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What something on the thread comes to, once it has ended.
type Outcome<T> = watch::Receiver<Option<Result<T>>>;

/// A token, and the header lines that show it.
pub(super) type Answer = (Access, Vec<String>);

impl Exchanges {
    pub(super) fn new(host: Host) -> Self {
        Self { host, worker: Mutex::default(), under_way: Mutex::default() }
    }

    /// Runs something on the thread, with the host as it is to see it.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce(Host) -> F) -> Result<T>
    where
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        outcome_of(self.begin(|| None, work)?).await
    }

    /// Runs an exchange for all who ask for the very same at the same time: one looks and waits, and not
    /// each of them. Where it takes long, they are served what is `at_hand` by then, and it goes on.
    pub(super) async fn run_for_all<F>(
        &self,
        asked: String,
        at_hand: impl FnOnce() -> Option<Answer> + Send + 'static,
        exchange: impl FnOnce(Host) -> F,
    ) -> Result<Answer>
    where
        F: Future<Output = Result<Answer>> + Send + 'static,
    {
        let shared = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.retain(|_, shared| shared.strong_count() > 0);
            let same = under_way.get(&asked).and_then(Weak::upgrade);
            if let Some(shared) = same.filter(|shared| shared.borrow().is_none()) {
                shared
            } else {
                let shared = Arc::new(self.begin(at_hand, exchange)?);
                under_way.insert(asked, Arc::downgrade(&shared));
                shared
            }
        };
        outcome_of((*shared).clone()).await
    }

    /// Begins something on the thread, with what is served meanwhile where it takes long. It ends early once
    /// nobody waits for it and no grant is on its way, unless those who waited were served.
    fn begin<T, F>(
        &self,
        at_hand: impl FnOnce() -> Option<T> + Send + 'static,
        work: impl FnOnce(Host) -> F,
    ) -> Result<Outcome<T>>
    where
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (tasks, http) = self.worker()?;
        let (on_their_way, mut sent) = watch::channel(0);
        let process = Arc::new(Watched { process: self.host.process.clone(), on_their_way });
        let work = work(Host { http, process, ..self.host.clone() });
        let (outcome, waiting) = watch::channel(None);
        let clock = self.host.clock.clone();
        let task = async move {
            let forsaken = async {
                outcome.closed().await;
                // An error means that the work is over.
                let _ = sent.wait_for(|grants| *grants == 0).await;
            };
            let serving_what_is_at_hand = async {
                clock.sleep(PATIENCE).await;
                // Whoever waits is served, and still it goes on: what it comes to, a refusal as well, is
                // to be known to those who come next.
                let _is_not_forsaken = at_hand().map(|answer| {
                    let waiting = outcome.subscribe();
                    outcome.send_replace(Some(Ok(answer)));
                    waiting
                });
                pending::<()>().await;
            };
            let ended = tokio::select! {
                biased;
                ended = work => Some(ended),
                () = forsaken => None,
                () = serving_what_is_at_hand => None,
            };
            outcome.send_replace(ended);
        };
        tasks.send(Box::pin(task)).map_err(|_| gone())?;
        Ok(waiting)
    }

    /// Returns where to send tasks, and the network that they are to use.
    fn worker(&self) -> Result<(mpsc::UnboundedSender<Task>, Arc<dyn Http>)> {
        let pid = self.host.process.owner().pid;
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inherited) = worker.take_if(|worker| worker.pid != pid) {
            // Neither joined nor detached: there is no such thread in this process.
            std::mem::forget(inherited.thread);
        }
        let worker = match &mut *worker {
            Some(worker) => worker,
            none => none.insert(Worker::begin(pid, self.host.http.clone())?),
        };
        Ok((worker.tasks.clone(), worker.http.clone()))
    }
}

impl Worker {
    fn begin(pid: u32, http: Arc<dyn Http>) -> Result<Self> {
        let failed = |error| Error::internal("the thread for exchanges cannot be started").caused_by(error);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (tasks, given) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name("earthkey".into());
        let thread = thread.spawn(move || work(&runtime, given)).map_err(failed)?;
        Ok(Self { pid, tasks, http: http.for_another_runtime(), thread })
    }
}

impl Drop for Exchanges {
    fn drop(&mut self) {
        let worker = self.worker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Worker { pid, tasks, thread, .. }) = worker else { return };
        drop(tasks);
        if pid != self.host.process.owner().pid || thread.thread().id() == thread::current().id() {
            std::mem::forget(thread);
        } else if let Err(panicked) = thread.join()
            && !thread::panicking()
        {
            panic::resume_unwind(panicked);
        }
    }
}

/// Runs what is given until nobody can give any more and all of it has ended.
fn work(runtime: &Runtime, mut given: mpsc::UnboundedReceiver<Task>) {
    runtime.block_on(async move {
        let mut running = JoinSet::new();
        while let Some(task) = given.recv().await {
            running.spawn(task);
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
    });
}

/// A process that tells how many grants of one exchange are on their way: signals are held as long.
struct Watched {
    process: Arc<dyn Process>,
    on_their_way: watch::Sender<usize>,
}

struct Hold {
    _signals: Box<dyn Send + Sync>,
    on_their_way: watch::Sender<usize>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.on_their_way.send_modify(|grants| *grants -= 1);
    }
}

impl Process for Watched {
    fn owner(&self) -> Owner {
        self.process.owner()
    }

    fn is_dead(&self, owner: &Owner) -> bool {
        self.process.is_dead(owner)
    }

    fn current_directory(&self) -> io::Result<PathBuf> {
        self.process.current_directory()
    }

    fn user_id(&self) -> u32 {
        self.process.user_id()
    }

    fn whose_is(&self, peer: SocketAddr, here: SocketAddr) -> Peer {
        self.process.whose_is(peer, here)
    }

    fn hold_signals(&self) -> Box<dyn Send + Sync> {
        self.on_their_way.send_modify(|grants| *grants += 1);
        Box::new(Hold { _signals: self.process.hold_signals(), on_their_way: self.on_their_way.clone() })
    }
}

async fn outcome_of<T: Clone>(mut waiting: Outcome<T>) -> Result<T> {
    let ended = waiting.wait_for(Option::is_some).await.map_err(|_| gone())?;
    ended.clone().unwrap_or_else(|| Err(gone()))
}

/// What whoever waited for an exchange is told that panicked.
fn gone() -> Error {
    Error::internal("the exchange ended without an outcome").hint("try again")
}
