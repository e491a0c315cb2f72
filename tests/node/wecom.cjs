// The vendor's Node SDK as a bot: it answers by a stream, pushes a card and a file, and replaces the pressed card.
const { WSClient, generateReqId } = require("@wecom/aibot-node-sdk");

const [, , wsUrl, botId] = process.argv;
const tell = (kind, data) => console.log(JSON.stringify({ kind, data }));
const logger = { debug() {}, info() {}, warn() {}, error() {} };
const client = new WSClient({
  botId,
  secret: process.env.APP_SECRET,
  wsUrl,
  logger,
  reconnectInterval: 50,
  heartbeatInterval: 100,
  maxAuthFailureAttempts: 1,
});
const card = (text) => ({
  card_type: "button_interaction",
  main_title: { title: "echo" },
  task_id: "node-1",
  button_list: [{ text, style: 1, key: "ok" }],
});
client
  .on("error", (error) => tell("error", error.message))
  .on("message.text", async (frame) => {
    const { text, from, chatid } = frame.body;
    tell("message", { text: text.content, from: from.userid });
    const stream = generateReqId("stream");
    await client.replyStream(frame, stream, "一");
    await client.replyStream(frame, stream, "一二", true);
    if (text.content.endsWith("卡片")) {
      await client.sendMessage(chatid, { msgtype: "template_card", template_card: card("OK") });
      const content = Buffer.alloc(600_000, "1");
      const { media_id } = await client.uploadMedia(content, { type: "file", filename: "a.txt" });
      await client.sendMediaMessage(chatid, "file", media_id);
    }
    tell("answered", chatid);
  })
  .on("event.template_card_event", async (frame) => {
    await client.updateTemplateCard(frame, card("OK ✓"));
    tell("press", frame.body.event.template_card_event.event_key);
  })
  .on("event.disconnected_event", () => tell("thrown out", botId))
  .connect();
