// What the models see: the camera, a picture, a video, the rendered clip.
//
// A source has `name`, `fps` (frames a second; null for a picture), `isStill`, and
//   next() -> {image, width, height, seconds}, or null when it is closed; throws SourceError when it cannot go on
//   pause(isPaused), close()

const VIDEO_FPS = 30; // assumed: browsers do not say it of a file
const MAX_PIXELS = 50_000_000;

/** Why a source cannot be used, in words for the visitor. */
export class SourceError extends Error {}

const CAMERA_REFUSALS = {
  NotAllowedError: "This page may not use the camera: allow it beside the address, then choose Camera again.",
  NotFoundError: "This machine has no camera: choose a picture, a video or the rendered clip.",
  NotReadableError: "The camera gives no pictures: close other programs that use it, then choose Camera again.",
};

export async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new SourceError("This browser gives pages such as this one no camera: choose a picture or a video.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
  } catch (error) {
    throw new SourceError(CAMERA_REFUSALS[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
  const video = videoElement();
  video.srcObject = stream;
  const [track] = stream.getVideoTracks();
  const source = new VideoSource("Camera", video, track.getSettings().frameRate ?? VIDEO_FPS, () => track.stop());
  track.addEventListener("ended", () => source.fail("The camera has gone: connect it and choose Camera again."));
  await source.start(`The camera gives no pictures`);
  return source;
}

/** A picture or a video that the visitor chose. */
export async function openFile(file) {
  if (!file.size) throw new SourceError(`${file.name} is empty: choose another file.`);
  if (file.type.startsWith("image/")) return openPicture(file);
  const address = URL.createObjectURL(file);
  const video = videoElement();
  video.loop = true;
  video.src = address;
  const source = new VideoSource(file.name, video, VIDEO_FPS, () => URL.revokeObjectURL(address));
  await source.start(`${file.name} cannot be played by this browser`);
  return source;
}

async function openPicture(file) {
  let image;
  try {
    image = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new SourceError(`${file.name} is no picture that this browser can read: choose another file.`);
  }
  if (image.width * image.height > MAX_PIXELS) {
    throw new SourceError(`${file.name} has more than ${MAX_PIXELS / 1e6} million pixels: choose a smaller picture.`);
  }
  return new StillSource(file.name, image);
}

/** The clip that whc renders: frames in one picture, row by row. */
export async function openClip(bytes, { frames, width, height, columns, fps }) {
  const sheet = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none" });
  return new ClipSource(sheet, { frames, width, height, columns, fps });
}

function videoElement() {
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  return video;
}

/** A promise that can be kept or broken from outside. */
function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  parts.promise.catch(() => {}); // whoever waits hears of it
  return parts;
}

class VideoSource {
  isStill = false;
  #ending = deferred();
  #loops = 0;
  #last = 0;

  constructor(name, video, fps, release) {
    Object.assign(this, { name, video, fps, release });
    video.addEventListener("error", () => this.fail(`${name} cannot be played to its end by this browser.`));
  }

  /** Wait for the first frame. */
  async start(refusal) {
    const { video } = this;
    try {
      await video.play();
    } catch {
      this.close();
      throw new SourceError(`${refusal}: choose another source.`);
    }
    if (!video.videoWidth) {
      this.close();
      throw new SourceError(`${this.name} has no pictures: choose another source.`);
    }
  }

  async next() {
    const seconds = await Promise.race([this.#frame(), this.#ending.promise]);
    if (seconds === null) return null;
    if (seconds < this.#last - 0.001) this.#loops += this.#last - seconds + 1 / this.fps;
    this.#last = seconds;
    const { video } = this;
    return { image: video, width: video.videoWidth, height: video.videoHeight, seconds: seconds + this.#loops };
  }

  /** The time of the next frame that is shown. */
  #frame() {
    const { video } = this;
    if (!video.requestVideoFrameCallback) {
      return new Promise((resolve) => requestAnimationFrame(() => resolve(video.currentTime)));
    }
    return new Promise((resolve) => video.requestVideoFrameCallback((_, frame) => resolve(frame.mediaTime)));
  }

  pause(isPaused) {
    if (isPaused) this.video.pause();
    else this.video.play().catch(() => {});
  }

  fail(words) {
    this.#ending.reject(new SourceError(words));
  }

  close() {
    this.#ending.resolve(null);
    this.video.pause();
    this.release();
    this.video.removeAttribute("src");
    this.video.srcObject = null;
  }
}

class StillSource {
  fps = null;
  isStill = true;
  #wanted = deferred();
  #isClosed = false;

  constructor(name, image) {
    Object.assign(this, { name, image });
    this.#wanted.resolve();
  }

  async next() {
    await this.#wanted.promise;
    this.#wanted = deferred();
    const { image } = this;
    return this.#isClosed ? null : { image, width: image.width, height: image.height, seconds: 0 };
  }

  /** Give the picture once more: something looks at it in another way. */
  repeat() {
    this.#wanted.resolve();
  }

  pause() {}

  close() {
    this.#isClosed = true;
    this.#wanted.resolve();
  }
}

class ClipSource {
  name = "Rendered clip of a hand, a stand-in for a camera";
  isStill = false;
  #number = -1;
  #isClosed = false;
  #resumed = null;
  #start = performance.now();

  constructor(sheet, shape) {
    Object.assign(this, { sheet, shape, fps: shape.fps });
  }

  async next() {
    await this.#resumed?.promise;
    const due = this.#start + ((this.#number + 1) * 1000) / this.fps;
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    if (this.#isClosed) return null;
    // A page that was hidden or slow leaves frames out, as a camera would.
    this.#number = Math.max(this.#number + 1, Math.floor(((performance.now() - this.#start) / 1000) * this.fps));
    const { width, height, frames, columns } = this.shape;
    const place = this.#number % frames;
    const [x, y] = [(place % columns) * width, Math.floor(place / columns) * height];
    return { image: this.sheet, width, height, seconds: this.#number / this.fps, from: [x, y] };
  }

  pause(isPaused) {
    if (isPaused) {
      this.#resumed = deferred();
      return;
    }
    this.#start = performance.now() - ((this.#number + 1) * 1000) / this.fps;
    this.#resumed?.resolve();
    this.#resumed = null;
  }

  close() {
    this.#isClosed = true;
    this.#resumed?.resolve();
  }
}
