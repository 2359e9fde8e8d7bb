// Lay the pictures of each <figure class="slider"> over one another, with a line to be dragged.
// The line is a range input, so that mouse, touch and keyboard work as they do everywhere.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll("figure.slider")) {
    const pictures = [...figure.querySelectorAll("img")];
    if (pictures.length < 2) continue;
    const [before, after, truth] = pictures;
    const stage = document.createElement("div");
    stage.className = "slider-stage";
    const line = document.createElement("input");
    Object.assign(line, {type: "range", min: 0, max: 100, step: 1, value: 50});
    const names = ["left", "right"].map((side) => {
      const name = document.createElement("span");
      name.className = `slider-name slider-${side}`;
      name.setAttribute("aria-hidden", "true");
      return name;
    });
    let left = before;

    const show = () => {
      const share = Number(line.value);
      stage.style.setProperty("--share", `${share}%`);
      for (const picture of pictures) {
        picture.hidden = picture !== left && picture !== after;
        picture.classList.toggle("slider-over", picture === left);
      }
      names[0].textContent = left.alt;
      names[1].textContent = after.alt;
      line.setAttribute("aria-label", `How much is shown of: ${left.alt}. The rest: ${after.alt}`);
      line.setAttribute("aria-valuetext", `${share} % ${left.alt}, ${100 - share} % ${after.alt}`);
    };

    stage.append(after, before, ...(truth ? [truth] : []), ...names, line);
    figure.replaceChildren(stage);
    if (truth) {
      const button = document.createElement("button");
      Object.assign(button, {type: "button", textContent: `${truth.alt} on the left`});
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        left = left === before ? truth : before;
        button.setAttribute("aria-pressed", String(left === truth));
        show();
      });
      figure.append(button);
    }
    line.addEventListener("input", show);
    figure.classList.add("slider-works");
    show();
  }
});
