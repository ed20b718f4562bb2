//! Measures what a token costs that a library has at hand, ours beside others for Rust.
//!
//! The contestants take turns: each round lets every one of them hand out its token many times, on one
//! thread and on two at once. All have the same token, which is looked at before and after. What counts is
//! the CPU time of the threads. Prints JSON for `processes.py`.

mod contestant;
mod ours;
mod peers;
mod token_server;

use std::error::Error;

use serde_json::Value;
use serde_json::json;
use tokio::runtime::Builder;

use self::contestant::Contestant;
use self::contestant::nanoseconds_per_call;
use self::ours::Clocks;
use self::ours::Ours;
use self::ours::SignedIn;
use self::peers::GcpAuth;
use self::peers::GoogleCloudAuth;
use self::peers::GoogleCloudAuthHeaders;
use self::peers::YupOauth2;
use self::token_server::TokenServer;

type Failure = Box<dyn Error + Send + Sync>;
type Result<T, E = Failure> = std::result::Result<T, E>;

const ROUNDS: usize = 15;
const CALLS: u32 = 100_000;
const THREADS: [usize; 2] = [1, 2];

fn main() -> Result<()> {
    // Lives until the end, as google-cloud-auth's task that keeps the token fresh does.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let signed_in = runtime.block_on(SignedIn::new())?;
    let contestants = runtime.block_on(contestants(&signed_in))?;
    let mut measured = vec![[const { Vec::new() }; THREADS.len()]; contestants.len()];
    for round in 0..=ROUNDS {
        for (contestant, measured) in contestants.iter().zip(&mut measured) {
            for (threads, measured) in THREADS.into_iter().zip(measured) {
                let cost = nanoseconds_per_call(&**contestant, threads, CALLS)?;
                // The first round warms up.
                if round > 0 {
                    measured.push(cost);
                }
            }
        }
    }
    let rows = contestants.iter().zip(&measured).map(|(contestant, measured)| row(&**contestant, measured));
    let rows: Vec<_> = rows.collect();
    println!("{}", json!({"rounds": ROUNDS, "calls": CALLS, "threads": THREADS, "rows": rows}));
    Ok(())
}

async fn contestants(signed_in: &SignedIn) -> Result<Vec<Box<dyn Contestant + '_>>> {
    let token = signed_in.token();
    let server = TokenServer::start(token)?;
    let key = signed_in.key_for(server.url());
    Ok(vec![
        Box::new(Clocks),
        Box::new(Ours::new(signed_in)),
        Box::new(GcpAuth::new(&key, token).await?),
        Box::new(GoogleCloudAuth::new(&server, token).await?),
        Box::new(GoogleCloudAuthHeaders::new(&server, token).await?),
        Box::new(YupOauth2::new(&key, token).await?),
    ])
}

fn row(contestant: &dyn Contestant, nanoseconds: &[Vec<f64>; THREADS.len()]) -> Value {
    json!({"package": contestant.package(), "call": contestant.call(), "nanoseconds": nanoseconds})
}
