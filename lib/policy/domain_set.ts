/**
 * The configured names as a tree of labels, matched on bytes.
 *
 * A name is covered where it is a configured name or lies under one: `www.example.com` is under
 * `example.com`, `notexample.com` is not. The tree is walked from the root, so from a name's last
 * label to its first, and stops at the first label it does not know. Edges lie in one hash table of
 * numbers; a look-up makes no string and no object.
 *
 * @module
 */
import { type LabelWalk, lowerCase, sameOctets } from "../dns/name.ts";

const ROOT = 0;
const NONE = -1;

interface Node {
  readonly parent: number;
  /** The label that leads here: its length octet and its text, small letters. */
  readonly label: DataView;
  /** Whether a configured name ends here. */
  end: boolean;
}

/** A set of names, each of which stands for itself and all below it. */
export class DomainTree {
  readonly #nodes: Node[] = [{ parent: NONE, label: new DataView(new ArrayBuffer(1)), end: false }];
  /** Hash of parent and label, moved on by one while it is taken, to a node. */
  readonly #edges = new Map<number, number>();

  /**
   * @param names in wire format, uncompressed, as `nameFromText` makes them
   */
  constructor(names: Iterable<Uint8Array>) {
    for (const name of names) this.#add(name);
  }

  /** Whether the name that `walk` followed last is covered. */
  covers(view: DataView, walk: LabelWalk): boolean {
    let node = ROOT;
    for (let i = walk.count - 1; i >= 0; i--) {
      node = this.#child(node, view, walk.offsets[i]!);
      if (node === NONE) return false;
      if (this.#nodes[node]!.end) return true;
    }
    return false;
  }

  #add(name: Uint8Array): void {
    const view = new DataView(name.buffer, name.byteOffset, name.byteLength);
    const labels = [];
    for (let at = 0; view.getUint8(at) !== 0; at += 1 + view.getUint8(at)) labels.push(at);
    let node = ROOT;
    for (const at of labels.reverse()) {
      const known = this.#child(node, view, at);
      node = known === NONE ? this.#addChild(node, view, at) : known;
    }
    this.#nodes[node]!.end = true;
  }

  #child(parent: number, view: DataView, at: number): number {
    for (let key = edgeKey(parent, view, at);; key = (key + 1) | 0) {
      const index = this.#edges.get(key);
      if (index === undefined) return NONE;
      const node = this.#nodes[index]!;
      if (node.parent !== parent || node.label.getUint8(0) !== view.getUint8(at)) continue;
      if (sameOctets(node.label, 0, view, at, node.label.byteLength)) return index;
    }
  }

  #addChild(parent: number, view: DataView, at: number): number {
    const label = new Uint8Array(view.buffer, view.byteOffset + at, 1 + view.getUint8(at)).slice();
    const index = this.#nodes.push({ parent, label: new DataView(label.buffer), end: false }) - 1;
    let key = edgeKey(parent, view, at);
    while (this.#edges.has(key)) key = (key + 1) | 0;
    this.#edges.set(key, index);
    return index;
  }
}

/** FNV-1a over the parent and the label in small letters. */
function edgeKey(parent: number, view: DataView, at: number): number {
  let hash = Math.imul(0x811c9dc5 ^ parent, 0x01000193);
  const end = at + 1 + view.getUint8(at);
  for (let i = at + 1; i < end; i++) {
    hash = Math.imul(hash ^ lowerCase(view.getUint8(i)), 0x01000193);
  }
  return hash;
}
