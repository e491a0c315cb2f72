// The vendor's Node SDK as a bot: it echoes messages, and answers presses with a toast.
const lark = require("@larksuiteoapi/node-sdk");

const [, , domain, appId] = process.argv;
const app = { appId, appSecret: process.env.APP_SECRET, domain, loggerLevel: lark.LoggerLevel.error };
const client = new lark.Client(app);
const tell = (kind, data) => console.log(JSON.stringify({ kind, data }));

new lark.WSClient(app).start({
  eventDispatcher: new lark.EventDispatcher({}).register({
    "im.message.receive_v1": async ({ message, sender }) => {
      tell("message", { text: JSON.parse(message.content).text, from: sender.sender_id.open_id });
      const sent = await client.im.message.create({
        params: { receive_id_type: "chat_id" },
        data: {
          receive_id: message.chat_id,
          msg_type: "interactive",
          content: JSON.stringify({
            schema: "2.0",
            config: { update_multi: true },
            header: { title: { tag: "plain_text", content: "echo" }, template: "blue" },
            body: {
              elements: [
                {
                  tag: "button",
                  text: { tag: "plain_text", content: "OK" },
                  behaviors: [{ type: "callback", value: { action: "ok" } }],
                },
              ],
            },
          }),
          uuid: "node-1",
        },
      });
      tell("sent", sent.data.message_id);
    },
    "card.action.trigger": async (press) => {
      tell("press", press.action.value.action);
      return { toast: { type: "success", content: "from node" } };
    },
  }),
});
