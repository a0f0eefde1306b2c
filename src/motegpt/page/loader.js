/** Unpacks the page's script, which is gzip in base64, and runs it; or says why this browser cannot. */
"use strict";
(async () => {
  const giveUp = (sentence) => {
    const place = document.getElementById("broken");
    place.textContent = sentence;
    place.hidden = false;
    document.body.classList.add("is-broken");
  };
  if (typeof DecompressionStream === "undefined") {
    giveUp("This browser cannot unpack the page (it has no DecompressionStream). " +
      "A current Firefox, Chrome, Edge or Safari can show it.");
    return;
  }
  try {
    const packed = atob(document.getElementById("script").textContent);
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const url = URL.createObjectURL(new Blob([await new Response(stream).arrayBuffer()], {type: "text/javascript"}));
    document.head.append(Object.assign(document.createElement("script"), {src: url}));
  } catch (error) {
    giveUp(`The page is damaged: ${error.message}. Download it again.`);
  }
})();
