//! The places of a door that strangers can reach. Who has not shown yet that they are worth a place is a newcomer, and gives way
//! to the next one; who has is settled, and stays. Which of the two somebody is, the door says.
//!
//! As with half-open connections of TCP: a flood pushes out the flood. Of whom there are most connections they lose one first, so
//! that whoever has one keeps it until as many addresses come as there are places.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// One line of the log in this time about connections that gave way: a flood is one piece of news.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// For connections.
    pub most: usize,
    /// Of these, for newcomers.
    pub newcomers: usize,
    /// Of all, for those who have settled; fewer than `most` keep the rest for newcomers.
    pub settled: usize,
    /// For one address.
    pub each: usize,
    /// Of these, for its newcomers.
    pub each_newcomers: usize,
}

/// The places of one door.
#[derive(Debug)]
pub(super) struct Places {
    bounds: Bounds,
    guests: Mutex<Guests>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Guests {
    /// Of the last one that came.
    number: u64,
    /// The oldest first.
    here: Vec<Guest>,
    /// That gave way since the last line of the log.
    untold: u64,
    told: Option<Instant>,
}

#[derive(Debug)]
struct Guest {
    number: u64,
    site: IpAddr,
    settled: bool,
    /// Dropped where the guest has to go.
    _stays: oneshot::Sender<Infallible>,
}

/// A connection's place, until it is dropped or taken away.
#[derive(Debug)]
#[must_use]
pub(super) struct Place {
    mark: Mark,
    lost: oneshot::Receiver<Infallible>,
}

/// By which those who answer know the place of whoever asks.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    places: Arc<Places>,
    number: u64,
}

/// Why there is no place.
#[derive(Debug, PartialEq, Eq)]
enum Full {
    /// All of this address have settled.
    Address,
    /// All have settled.
    Door,
}

impl Places {
    /// All of them free.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, guests: Mutex::default(), left: Notify::new() })
    }

    /// A place for a connection from this address: one that is free, or that of a newcomer. Waits where all have settled; `None`
    /// where all of this address have.
    pub async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        loop {
            let left = self.left.notified();
            match self.try_take(of_one_site(address)) {
                Ok(place) => return Some(place),
                Err(Full::Address) => return None,
                Err(Full::Door) => left.await,
            }
        }
    }

    /// Waits until nobody is here.
    pub async fn all_left(&self) {
        loop {
            let left = self.left.notified();
            if self.guests().here.is_empty() {
                return;
            }
            left.await;
        }
    }

    fn try_take(self: &Arc<Self>, site: IpAddr) -> Result<Place, Full> {
        let Bounds { most, newcomers, each, each_newcomers, .. } = self.bounds;
        let mut guests = self.guests();
        let (own, own_new) = guests.count(|guest| guest.site == site);
        let (all, all_new) = guests.count(|_| true);
        if own >= each || own_new >= each_newcomers {
            guests.gives_way(Some(site), false).ok_or(Full::Address)?;
        } else if all >= most || all_new >= newcomers {
            let crowd = guests.crowd(false).map(|(site, _)| site);
            guests.gives_way(crowd, false).ok_or(Full::Door)?;
        }
        guests.number += 1;
        let (number, (stays, lost)) = (guests.number, oneshot::channel());
        guests.here.push(Guest { number, site, settled: false, _stays: stays });
        Ok(Place { mark: Mark { places: Arc::clone(self), number }, lost })
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        // Nothing that holds it panics half-way.
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    /// How many of these there are, and how many of them have not settled.
    fn count(&self, is: impl Fn(&Guest) -> bool) -> (usize, usize) {
        let those = || self.here.iter().filter(|guest| is(guest));
        (those().count(), those().filter(|guest| !guest.settled).count())
    }

    /// The address with most guests of a kind, and how many.
    fn crowd(&self, settled: bool) -> Option<(IpAddr, usize)> {
        let mut counts = HashMap::<IpAddr, usize>::new();
        for guest in self.here.iter().filter(|guest| guest.settled == settled) {
            *counts.entry(guest.site).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        // Of several with as many, that of the oldest.
        let mut of_kind = self.here.iter().filter(|guest| guest.settled == settled);
        of_kind.find(|guest| counts.get(&guest.site) == Some(&most)).map(|guest| (guest.site, most))
    }

    /// Takes the place of the oldest of a kind at an address.
    fn gives_way(&mut self, site: Option<IpAddr>, settled: bool) -> Option<()> {
        let goes = |guest: &Guest| Some(guest.site) == site && guest.settled == settled;
        let position = self.here.iter().position(goes)?;
        self.here.remove(position);
        self.untold += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            let connections = std::mem::take(&mut self.untold);
            self.told = Some(Instant::now());
            tracing::warn!(
                connections,
                "a door of the admin plane is full: so many connections gave way to new ones"
            );
        }
        Some(())
    }
}

impl Place {
    /// For those who answer.
    pub fn mark(&self) -> Mark {
        self.mark.clone()
    }

    /// Waits until it is taken away.
    pub async fn is_lost(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Mark { places, number } = &self.mark;
        places.guests().here.retain(|guest| guest.number != *number);
        places.left.notify_waiters();
    }
}

impl Mark {
    /// Whoever is there stays from now on; not where there is no more room for such. Then the address with most of them gives
    /// one up, if that one has two more: places do not go to and fro.
    pub fn settle(&self) -> bool {
        let mut guests = self.places.guests();
        let Some(own) = guests.here.iter().find(|guest| guest.number == self.number) else { return false };
        if own.settled {
            return true;
        }
        let site = own.site;
        let settled = |guest: &Guest| guest.settled;
        if guests.count(settled).0 >= self.places.bounds.settled {
            let (own, _) = guests.count(|guest| guest.settled && guest.site == site);
            let crowd = guests.crowd(true).filter(|(_, count)| *count > own + 1);
            if crowd.and_then(|(crowd, _)| guests.gives_way(Some(crowd), true)).is_none() {
                return false;
            }
        }
        let number = self.number;
        guests.here.iter_mut().filter(|guest| guest.number == number).for_each(|guest| guest.settled = true);
        true
    }
}

/// Of IPv6 the /64, of which everybody has as many addresses as they like.
fn of_one_site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { most: 8, newcomers: 4, settled: 8, each: 3, each_newcomers: 2 };

    fn from(places: &Arc<Places>, address: &str) -> Result<Place, Full> {
        places.try_take(of_one_site(address.parse().unwrap()))
    }

    fn is_lost(place: &mut Place) -> bool {
        place.lost.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn newcomers_of_many_addresses_push_out_each_other_and_nobody_who_has_settled() {
        let places = Places::new(BOUNDS);
        let mut operator = from(&places, "192.0.2.1").unwrap();
        assert!(operator.mark().settle() && operator.mark().settle());
        let mut flood: Vec<_> =
            (0..100).map(|at| from(&places, &format!("127.0.9.{}", at % 4)).unwrap()).collect();
        assert!(!is_lost(&mut operator));
        assert_eq!(flood.iter_mut().map(is_lost).filter(|lost| !lost).count(), 4, "part of the places alone");
        let mut next = from(&places, "192.0.2.2").unwrap();
        flood.extend((0..100).map(|_| from(&places, "127.0.9.1").unwrap()));
        assert!(!is_lost(&mut next), "who has most connections loses one first");
        assert!(next.mark().settle());
    }

    #[test]
    fn an_address_has_its_share_of_each_kind_and_gives_it_back() {
        let places = Places::new(BOUNDS);
        let mut own: Vec<_> = (0..3).map(|_| from(&places, "192.0.2.1").unwrap()).collect();
        assert_eq!(own.iter_mut().map(is_lost).collect::<Vec<_>>(), [true, false, false], "the oldest goes");
        assert!(!own[0].mark().settle(), "who has lost it has none");
        assert!(own[1..].iter().all(|place| place.mark().settle()));
        own.push(from(&places, "192.0.2.1").unwrap());
        assert!(own[3].mark().settle());
        assert_eq!(from(&places, "[::ffff:192.0.2.1]".trim_matches(['[', ']'])).err(), Some(Full::Address));
        let six: Vec<_> = (0..3).map(|at| from(&places, &format!("2001:db8::{at}")).unwrap()).collect();
        assert_eq!(places.guests().count(|guest| guest.site.is_ipv6()).0, 2, "a /64 is one address");
        drop((own, six));
        assert!(places.guests().here.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_have_settled_the_next_one_waits_for_a_place() {
        let places = Places::new(BOUNDS);
        let mut all: Vec<_> = (0..8)
            .map(|at| {
                let place = from(&places, &format!("192.0.2.{}", at / 2)).unwrap();
                assert!(place.mark().settle());
                place
            })
            .collect();
        assert_eq!(from(&places, "192.0.2.9").err(), Some(Full::Door));
        let next = {
            let places = Arc::clone(&places);
            tokio::spawn(async move { places.take("192.0.2.9".parse().unwrap()).await })
        };
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        all.pop();
        let next = next.await.unwrap().unwrap();
        let gone = {
            let places = Arc::clone(&places);
            tokio::spawn(async move { places.all_left().await })
        };
        tokio::task::yield_now().await;
        drop((all, next));
        gone.await.unwrap();
    }

    #[test]
    fn of_settled_ones_the_address_with_most_gives_one_up_and_none_to_its_like() {
        let places = Places::new(Bounds { most: 8, newcomers: 8, settled: 4, each: 8, each_newcomers: 8 });
        let mut crowd: Vec<_> = (0..4).map(|_| from(&places, "127.0.9.1").unwrap()).collect();
        assert!(crowd.iter().all(|place| place.mark().settle()));
        let one_more = from(&places, "127.0.9.1").unwrap();
        assert!(!one_more.mark().settle(), "it has all of them already");
        let others: Vec<_> = ["192.0.2.1", "192.0.2.2"].map(|other| from(&places, other).unwrap()).into();
        assert!(others.iter().all(|place| place.mark().settle()));
        assert_eq!(crowd.iter_mut().map(is_lost).collect::<Vec<_>>(), [true, true, false, false]);
        let third = from(&places, "192.0.2.3").unwrap();
        assert!(third.mark().settle());
        let fourth = from(&places, "192.0.2.4").unwrap();
        assert!(!fourth.mark().settle(), "all have one");
    }
}
