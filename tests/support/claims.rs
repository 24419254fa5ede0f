//! What stands in Redis under message IDs, read past the sidecar.

use std::collections::HashMap;

use anyhow::Context;
use kafka_once::adapters::claims::redis::keys::Keys;
use kafka_once::domain::claim::ClaimValue;
use kafka_once::domain::claim_codec::decode;
use kafka_once::domain::identity::MessageId;
use kafka_once::pipeline::id_hash;

/// What stands under each of these message IDs (bytes that need no encoding) of one topic; absent where nothing does.
pub fn standing<'a>(
    url: &str,
    namespace: &str,
    topic: &str,
    ids: impl IntoIterator<Item = &'a str>,
) -> anyhow::Result<HashMap<String, ClaimValue>> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    let ids: Vec<&str> = ids.into_iter().collect();
    let keys = Keys::new(namespace);
    let mut found = HashMap::new();
    for ids in ids.chunks(1000) {
        let mut command = redis::cmd("MGET");
        for id in ids {
            let mut key = Vec::new();
            keys.id(id_hash(namespace, topic, &MessageId::Plain(id.as_bytes().into())), &mut key);
            command.arg(key);
        }
        let values: Vec<Option<Vec<u8>>> = command.query(&mut connection)?;
        for (id, value) in ids.iter().zip(values) {
            let Some(value) = value else { continue };
            found.insert((*id).to_owned(), decode(&value).with_context(|| format!("a foreign value under {id}"))?);
        }
    }
    Ok(found)
}
