// The camera dialog: shows what the camera sees and gives one frame.

const REASONS = {
  NotAllowedError: "The camera was not allowed. Allow it for this page in your browser's settings, or choose a file.",
  NotFoundError: "No camera was found. Connect one, or choose a file.",
  NotReadableError: "Another program uses the camera. Close it, or choose a file.",
};

const dialog = document.querySelector("#camera-dialog");
const video = document.querySelector("#video");

// Calls `taken` with the video once the user takes the picture, `failed` with words where there is no camera.
export async function openCamera(taken, failed) {
  if (!navigator.mediaDevices) {
    failed("The camera needs a page over https or on localhost. Choose a file instead.");
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
  } catch (error) {
    failed(REASONS[error.name] ?? "The camera cannot be used here. Choose a file instead.");
    return;
  }
  video.srcObject = stream;
  dialog.onclose = () => {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
  document.querySelector("#camera-close").onclick = () => dialog.close();
  const shoot = document.querySelector("#shoot");
  shoot.disabled = true;
  video.onloadeddata = () => { shoot.disabled = false; };
  shoot.onclick = () => {
    taken(video);
    dialog.close();
  };
  dialog.showModal();
}
