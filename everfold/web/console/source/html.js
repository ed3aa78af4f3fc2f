// htm bound to preact, and the hooks that all screens use.

import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);
export { useEffect, useErrorBoundary, useMemo, useRef, useState } from "preact/hooks";
