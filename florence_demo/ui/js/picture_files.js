// Where a system does not know a kind of picture (HEIC on most Windows and some Linuxes), the browser
// hands the file over without a type, and gradio takes it for no picture. The name tells its type.
(() => {
  const TYPES = {heic: 'image/heic', heif: 'image/heif', avif: 'image/avif', jxl: 'image/jxl',
    jp2: 'image/jp2', webp: 'image/webp', tif: 'image/tiff', tiff: 'image/tiff'};
  const INPUT = 'input[type=file][accept*="image/"]';
  const PLACES = '[data-testid=image], .fd-canvas';
  const typed = file => {
    const type = file.type ? '' : TYPES[file.name.split('.').pop().toLowerCase()];
    return type ? new File([file], file.name, {type, lastModified: file.lastModified}) : file;
  };
  // The same files with their types, or null where they have them all.
  const named = files => {
    const before = [...files], now = before.map(typed), data = new DataTransfer();
    if (now.every((file, at) => file === before[at])) return null;
    now.forEach(file => data.items.add(file));
    return data;
  };
  document.addEventListener('change', ({target}) => {
    const data = target.matches?.(INPUT) && named(target.files);
    if (data) target.files = data.files;
  }, true);
  document.addEventListener('drop', event => {
    const data = event.target.closest?.(PLACES) && named(event.dataTransfer.files);
    if (!data) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    event.target.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
  }, true);
  // Nor does the system's own window offer them among pictures.
  const offered = `image/*,${Object.keys(TYPES).map(each => `.${each}`).join()}`;
  const offer = node => {
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    [node, ...node.querySelectorAll(INPUT)].forEach(each => {
      if (each.accept === 'image/*') each.accept = offered;
    });
  };
  new MutationObserver(changes => changes.forEach(({addedNodes}) => addedNodes.forEach(offer)))
    .observe(document.documentElement, {childList: true, subtree: true});
})();
