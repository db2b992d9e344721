//! Bodies that count their bytes, and end the exchange when they end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::Exchange;

pin_project! {
    /// A request's body: counts what the handler reads of it.
    #[derive(Debug)]
    pub struct CountedBody<B> {
        #[pin]
        inner: B,
        counted: Option<Arc<AtomicU64>>,
    }
}

impl<B> CountedBody<B> {
    pub(crate) fn new(inner: B, counted: Option<Arc<AtomicU64>>) -> Self {
        Self { inner, counted }
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(context));
        if let (Some(counted), Some(Ok(frame))) = (this.counted, &frame) {
            counted.fetch_add(length(frame), Ordering::AcqRel);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for CountedBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

pin_project! {
    /// An answer's body: the handler's, which ends the exchange when it ends or is dropped; or a
    /// refusal.
    pub struct MeteredBody<B> {
        #[pin]
        inner: Option<B>,
        exchange: Option<Exchange>,
        refusal: Option<Bytes>,
    }
}

impl<B> MeteredBody<B> {
    pub(crate) fn served(inner: B, exchange: Option<Exchange>) -> Self {
        Self {
            inner: Some(inner),
            exchange,
            refusal: None,
        }
    }

    pub(crate) fn refused(refusal: Bytes) -> Self {
        Self {
            inner: None,
            exchange: None,
            refusal: Some(refusal),
        }
    }
}

impl<B: Body<Data = Bytes>> Body for MeteredBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            return Poll::Ready(this.refusal.take().map(|refusal| Ok(Frame::data(refusal))));
        };
        let frame = ready!(inner.poll_frame(context));
        let facts = this.exchange.as_mut().and_then(Exchange::facts);
        match (&frame, facts) {
            (Some(Ok(frame)), Some(facts)) => facts.bytes_out += length(frame),
            (Some(Err(_)), Some(facts)) => {
                facts.has_failed = true;
                *this.exchange = None;
            }
            (None, _) => *this.exchange = None,
            (Some(_), None) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Some(inner) => inner.is_end_stream(),
            None => self.refusal.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(self.refusal.as_ref().map_or(0, |body| body.len() as u64)),
        }
    }
}

fn length<D: Buf>(frame: &Frame<D>) -> u64 {
    frame.data_ref().map_or(0, |data| data.remaining() as u64)
}
