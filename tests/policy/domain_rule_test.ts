/** Rules as people write them. */
import { assertEquals, assertThrows } from "@std/assert";
import { ruleFromText } from "../../lib/policy/domain_rule.ts";
import { Rule } from "../../lib/policy/domain_set.ts";
import { wireName } from "../support/packet.ts";

Deno.test("ruleFromText() reads what it is about and how, when the text is a rule", () => {
  for (
    const [text, name, rule] of [
      ["example.com", "example.com", Rule.SUBTREE],
      ["Example.COM.", "example.com", Rule.SUBTREE],
      ["!a.example.com", "a.example.com", Rule.EXCEPTION],
      ["=a.example.com", "a.example.com", Rule.EXACT],
      [".", "", Rule.SUBTREE],
      ["!.", "", Rule.EXCEPTION],
      ["=.", "", Rule.EXACT],
      ["_sip._udp.a_b.example", "_sip._udp.a_b.example", Rule.SUBTREE],
    ] as const
  ) assertEquals(ruleFromText(text), { name: wireName(name), rule }, text);
});

Deno.test("ruleFromText() makes A-labels, when a name is internationalised", () => {
  for (
    const [text, name] of [
      ["münchen.de", "xn--mnchen-3ya.de"],
      ["MÜNCHEN.DE.", "xn--mnchen-3ya.de"],
      // The same letter in two ways: NFC.
      ["mu\u0308nchen.de", "xn--mnchen-3ya.de"],
      ["faß.example", "xn--fa-hia.example"],
      ["пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"],
      // The dots of East Asia are dots.
      ["例え\u3002テスト", "xn--r8jz45g.xn--zckzah"],
      ["_a.bücher.example", "_a.xn--bcher-kva.example"],
    ] as const
  ) assertEquals(ruleFromText(`=${text}`), { name: wireName(name), rule: Rule.EXACT }, text);
});

Deno.test("ruleFromText() throws SyntaxError, when the text is no rule", () => {
  for (
    const text of [
      ...["", "!", "=", "!!a", "!=a", "=!a", "a..b", "..", "*.a", ".a", "a b", "a/b", "a#b", "a:1"],
      // Nothing of a URL is taken away or turned into something else.
      ...["ä/b", "ä#b", "ä?b", "ä:80", "x@ä", "%61.ä", "ä b", "ä\n", "[ä]"],
      // What IDNA does not allow, or leaves nothing of.
      ...["\u00ad", "a.\u3002b", "\ud800.example", "xn--ä", `${"ä".repeat(60)}.example`],
    ]
  ) assertThrows(() => ruleFromText(text), SyntaxError, undefined, JSON.stringify(text));
});
