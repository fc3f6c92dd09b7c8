//! The answer to a wish, from whichever thread the driver gives it on. Made
//! once for a program and used by its every run, so that waiting takes no
//! memory; a channel for one answer would be made anew each time.

#[cfg(not(target_arch = "wasm32"))]
use std::future::Future;
use std::future::poll_fn;
#[cfg(not(target_arch = "wasm32"))]
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(not(target_arch = "wasm32"))]
use std::task::Context;
use std::task::{Poll, Waker};

/// What came of a wish: done, or why not.
type Answer = Result<(), String>;

#[derive(Default)]
pub(super) struct Signal(Mutex<State>);

#[derive(Default)]
struct State {
    /// Which wish is waited for: a late answer to an earlier one is dropped.
    turn: u64,
    answer: Option<Answer>,
    waker: Option<Waker>,
}

/// Waits for a future. One that is ready at the first look, as a run is, takes no
/// memory for a waker.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut unheard = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut unheard) {
        Poll::Ready(output) => output,
        // Polled again there, with a waker that is heard.
        Poll::Pending => pollster::block_on(future),
    }
}

/// The other end, to be used once. Dropped unused, it says so.
pub(super) struct Sender {
    signal: Arc<Signal>,
    turn: u64,
    sent: bool,
}

impl Signal {
    /// Begins a new wait.
    pub fn arm(self: &Arc<Self>) -> Sender {
        let mut state = self.state();
        state.turn += 1;
        state.answer = None;
        state.waker = None;
        Sender {
            signal: Arc::clone(self),
            turn: state.turn,
            sent: false,
        }
    }

    /// Whether the answer is there and not yet taken.
    pub fn is_answered(&self) -> bool {
        self.state().answer.is_some()
    }

    /// Waits for the answer.
    pub async fn answer(&self) -> Answer {
        poll_fn(|context| {
            let mut state = self.state();
            match state.answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// A plain value that is never left half-written, so a panic of another
    /// thread does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, turn: u64, answer: Answer) {
        let mut state = self.state();
        if state.turn == turn {
            state.answer = Some(answer);
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Sender {
    /// Answers.
    pub fn send(mut self, answer: Answer) {
        self.sent = true;
        self.signal.settle(self.turn, answer);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.sent {
            let answer = Err("the device never answered".to_string());
            self.signal.settle(self.turn, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_arrive_before_and_after_the_wait_begins() {
        let signal = Arc::new(Signal::default());
        signal.arm().send(Ok(()));
        assert_eq!(pollster::block_on(signal.answer()), Ok(()));
        let sender = signal.arm();
        let other = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            sender.send(Err("late".to_string()));
        });
        let answer = pollster::block_on(signal.answer());
        assert_eq!(answer, Err("late".to_string()));
        other.join().unwrap();
    }

    #[test]
    fn who_never_answers_and_who_answers_an_earlier_wish() {
        let signal = Arc::new(Signal::default());
        drop(signal.arm());
        let answer = pollster::block_on(signal.answer());
        assert!(answer.unwrap_err().contains("never answered"));
        let old = signal.arm();
        let new = signal.arm();
        old.send(Err("of yesterday".to_string()));
        new.send(Ok(()));
        assert_eq!(pollster::block_on(signal.answer()), Ok(()));
    }
}
