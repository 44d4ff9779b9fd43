// What the page does with a clip: load, play, seek, and read each frame's marks off its picture.
"use strict";

const CELLS = 24, BANDS = 7, CONTRAST = 40;
const PATIENCE_MS = 20000;
let video, canvas, pen;
const heard = [];

function within(promise, what) {
  const late = new Promise((_, no) => setTimeout(() => no(new Error(`no ${what}: ${said()}`)), PATIENCE_MS));
  return Promise.race([promise, late]);
}

function once(name) {
  return new Promise((yes) => video.addEventListener(name, yes, { once: true }));
}

function failed() {
  return new Promise((_, no) => video.addEventListener("error", () => no(new Error(said())), { once: true }));
}

function said() {
  const error = video.error;
  return error ? `error ${error.code}: ${error.message}` : `ready ${video.readyState}, at ${video.currentTime}`;
}

function spans(ranges) {
  return Array.from({ length: ranges.length }, (_, n) => [ranges.start(n), ranges.end(n)]);
}

async function load(url) {
  document.body.replaceChildren();
  video = document.createElement("video");
  video.muted = true;
  video.preload = "auto";
  for (const name of ["error", "stalled", "abort", "emptied"]) {
    video.addEventListener(name, () => heard.push(name));
  }
  document.body.append(video);
  const ready = once("loadeddata"), bad = failed();
  video.src = url;
  await within(Promise.race([ready, bad]), "first frame");
  canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  pen = canvas.getContext("2d", { willReadFrequently: true });
  return state();
}

function state() {
  const quality = video.getVideoPlaybackQuality();
  return {
    duration: video.duration,
    width: video.videoWidth,
    height: video.videoHeight,
    buffered: spans(video.buffered),
    seekable: spans(video.seekable),
    error: video.error ? said() : null,
    heard: [...heard],
    corrupted: quality.corruptedVideoFrames,
    dropped: quality.droppedVideoFrames,
    total: quality.totalVideoFrames,
    audioBytes: video.webkitAudioDecodedByteCount,
    ended: video.ended,
  };
}

function lumaOf(pixels, at) {
  return 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
}

// The mean luma of the middle of a cell, in the lines of one field.
function cell(pixels, width, height, field, band, index) {
  const lines = height / 2 / BANDS, wide = width / CELLS;
  const top = Math.floor(lines * (band + 0.25));
  const bottom = Math.max(Math.floor(lines * (band + 0.75)), top + 1);
  const left = Math.floor(wide * (index + 0.3));
  const right = Math.max(Math.floor(wide * (index + 0.7)), left + 1);
  let sum = 0;
  for (let line = top; line < bottom; line++) {
    for (let x = left; x < right; x++) {
      sum += lumaOf(pixels, 4 * ((2 * line + field) * width + x));
    }
  }
  return sum / ((bottom - top) * (right - left));
}

function bitsOf(pixels, width, height, field) {
  let bits = "";
  for (let index = 0; index < CELLS; index++) {
    const lit = cell(pixels, width, height, field, 0, index);
    const dark = cell(pixels, width, height, field, 1, index);
    if (Math.abs(lit - dark) < CONTRAST) return null;
    bits += lit > dark ? "1" : "0";
  }
  return bits;
}

// What the picture shown now says: the bits of each field, and how bright it is.
function look() {
  const { width, height } = canvas;
  pen.drawImage(video, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height).data;
  let brightest = 0;
  for (let at = 0; at < pixels.length; at += 4) brightest = Math.max(brightest, lumaOf(pixels, at));
  return {
    fields: [bitsOf(pixels, width, height, 0), bitsOf(pixels, width, height, 1)],
    brightest,
  };
}

async function seek(to) {
  const painted = new Promise((yes) => video.requestVideoFrameCallback((_, facts) => yes(facts)));
  const arrived = once("seeked"), bad = failed();
  video.currentTime = to;
  await within(Promise.race([arrived, bad]), `seek to ${to}`);
  const facts = await within(Promise.race([painted, bad]), `frame at ${to}`);
  return { to, mediaTime: facts.mediaTime, ...look() };
}

async function seekAll(places) {
  const seen = [];
  for (const to of places) seen.push(await seek(to));
  return seen;
}

// Play from the beginning to the end; the frames that were shown on the way.
async function play(rate) {
  await seek(0);
  const seen = [{ mediaTime: 0, ...look() }];
  const note = (_, facts) => {
    seen.push({ mediaTime: facts.mediaTime, ...look() });
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  const over = once("ended"), bad = failed();
  video.playbackRate = rate;
  await video.play();
  await within(Promise.race([over, bad]), "end");
  seen.push({ mediaTime: video.currentTime, ...look() });
  return seen;
}
