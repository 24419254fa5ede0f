//! One exchange over a link: many requests, one write to each primary, answers in the order of the requests.

use std::sync::Arc;

use redis::{Pipeline, ServerErrorKind, Value};
use tokio::task::JoinSet;

use super::config::Address;
use super::fault::Fault;
use super::keys::Keys;
use super::request::{Request, strange};
use super::topology::Link;

/// Rounds in which redirected requests follow their slots; a slot that moves more often makes the store away.
const ROUNDS: usize = 5;

/// What came of an exchange.
pub(super) struct Answers {
    /// The answer to each request, and who gave it (an index into the link's primaries).
    pub(super) values: Vec<(Value, usize)>,
    /// Each primary's sentinel, read after the requests it got; empty unless asked for.
    pub(super) sentinels: Vec<Value>,
    /// Whether slots have moved: the link should be made anew.
    pub(super) moved: bool,
}

/// What goes to one primary in one write.
#[derive(Default)]
struct Parcel {
    /// Indices of requests, and whether each must be announced by `ASKING`.
    requests: Vec<(usize, bool)>,
    pipeline: Option<Pipeline>,
}

/// Sends all requests and, with `sentinels`, a read of each primary's sentinel **behind** them: an intact sentinel
/// then proves that the store had not forgotten when it answered the requests.
pub(super) async fn exchange(
    link: &Arc<Link>,
    keys: &Keys,
    requests: &[Request<'_>],
    sentinels: bool,
) -> Result<Answers, Fault> {
    let mut answers = Answers {
        values: vec![(Value::Nil, 0); requests.len()],
        sentinels: vec![Value::Nil; if sentinels { link.primaries.len() } else { 0 }],
        moved: false,
    };
    let mut parcels = first_parcels(link, keys, requests, sentinels)?;
    for _ in 0..ROUNDS {
        let mut redirected = empty_parcels(link);
        for (primary, values) in send(link, &mut parcels).await? {
            let address = &link.primaries[primary].connection.address;
            let mut values = values.into_iter();
            let mut next = || values.next().ok_or_else(|| Fault::away(address, "too few answers"));
            for (index, asking) in &parcels[primary].requests {
                if *asking {
                    next()?;
                }
                let value = next()?;
                if let Some((target, asking)) = redirect(&value, address)? {
                    let target = link.at(&target).ok_or_else(|| strange(address, &value))?;
                    redirected[target].add(&requests[*index], *index, asking, keys);
                    answers.moved |= !asking;
                } else {
                    answers.values[*index] = (value, primary);
                }
            }
            if sentinels {
                answers.sentinels[primary] = next()?;
            }
        }
        if redirected.iter().all(|parcel| parcel.requests.is_empty()) {
            return Ok(answers);
        }
        if sentinels {
            close_parcels(link, &mut redirected, false);
        }
        parcels = redirected;
    }
    Err(Fault::away(&link.primaries[0].connection.address, "slots keep moving"))
}

impl Parcel {
    /// Adds a request that another primary sent here.
    fn add(&mut self, request: &Request<'_>, index: usize, asking: bool, keys: &Keys) {
        let mut key = Vec::new();
        request.key(keys, &mut key);
        let pipeline = self.pipeline.get_or_insert_with(Pipeline::new);
        if asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(request.command(&key));
        self.requests.push((index, asking));
    }
}

fn empty_parcels(link: &Link) -> Vec<Parcel> {
    link.primaries.iter().map(|_| Parcel::default()).collect()
}

fn first_parcels(link: &Link, keys: &Keys, requests: &[Request<'_>], sentinels: bool) -> Result<Vec<Parcel>, Fault> {
    let mut parcels = empty_parcels(link);
    let share = requests.len() / parcels.len().max(1) + 2;
    let mut key = Vec::with_capacity(128);
    for (index, request) in requests.iter().enumerate() {
        request.key(keys, &mut key);
        let unserved = || Fault::away(&link.primaries[0].connection.address, "CLUSTERDOWN a slot is not served");
        let parcel = &mut parcels[link.owner(&key).ok_or_else(unserved)?];
        parcel.requests.push((index, false));
        parcel.pipeline.get_or_insert_with(|| Pipeline::with_capacity(share)).add_command(request.command(&key));
    }
    if sentinels {
        close_parcels(link, &mut parcels, true);
    }
    Ok(parcels)
}

/// Puts the read of the sentinel at the end of each parcel; of the empty ones too, if `all`.
fn close_parcels(link: &Link, parcels: &mut [Parcel], all: bool) {
    for (parcel, primary) in parcels.iter_mut().zip(&link.primaries) {
        if all || parcel.pipeline.is_some() {
            parcel.pipeline.get_or_insert_with(Pipeline::new).cmd("GET").arg(&primary.sentinel);
        }
    }
}

/// Sends the parcels at once to their primaries; the answers come in no particular order of primaries.
async fn send(link: &Arc<Link>, parcels: &mut [Parcel]) -> Result<Vec<(usize, Vec<Value>)>, Fault> {
    let mut full = parcels.iter_mut().enumerate().filter_map(|(index, parcel)| Some((index, parcel.pipeline.take()?)));
    let (Some((index, pipeline)), second) = (full.next(), full.next()) else { return Ok(Vec::new()) };
    let Some(second) = second else {
        return Ok(vec![(index, link.primaries[index].connection.send(&pipeline).await?)]);
    };
    let mut sending: JoinSet<_> = [(index, pipeline), second]
        .into_iter()
        .chain(full)
        .map(|(index, pipeline)| {
            let link = Arc::clone(link);
            async move { (index, link.primaries[index].connection.send(&pipeline).await) }
        })
        .collect();
    let mut values = Vec::with_capacity(link.primaries.len());
    while let Some(ended) = sending.join_next().await {
        let (index, answer) = ended.map_err(|error| Fault::away(&link.primaries[0].connection.address, error))?;
        values.push((index, answer?));
    }
    Ok(values)
}

/// Where an answer sends its request, and whether with `ASKING`.
fn redirect(value: &Value, from: &Address) -> Result<Option<(Address, bool)>, Fault> {
    let Value::ServerError(error) = value else { return Ok(None) };
    let asking = match error.kind() {
        Some(ServerErrorKind::Moved) => false,
        Some(ServerErrorKind::Ask) => true,
        _ => return Ok(None),
    };
    let target = error.details().and_then(|details| target(details, from));
    Ok(Some((target.ok_or_else(|| Fault::answered(from, error))?, asking)))
}

/// `SLOT HOST:PORT`; an empty host is the one that answered.
fn target(details: &str, from: &Address) -> Option<Address> {
    let (_, address) = details.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    let host = if host.is_empty() || host == "?" { &from.host } else { host };
    Some(Address { host: host.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_names_host_and_port_or_means_the_host_that_answered() {
        let from = Address { host: "asked".to_owned(), port: 1 };
        for (details, expected) in [
            ("3999 127.0.0.1:6381", Some(("127.0.0.1", 6381))),
            ("3999 redis-2.redis:6381", Some(("redis-2.redis", 6381))),
            ("3999 ::1:6381", Some(("::1", 6381))),
            ("3999 :6381", Some(("asked", 6381))),
            ("3999 ?:6381", Some(("asked", 6381))),
            ("3999 host:65536", None),
            ("3999 host", None),
            ("3999", None),
        ] {
            let expected = expected.map(|(host, port)| Address { host: host.to_owned(), port });
            assert_eq!(target(details, &from), expected, "{details}");
        }
    }
}
