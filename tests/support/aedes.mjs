// Runs an aedes broker on loopback: node aedes.mjs MODULE PORT [USER PASSWORD]
import { createServer } from 'node:net'
import { pathToFileURL } from 'node:url'

const [module, port, user, password] = process.argv.slice(2)
const { Aedes } = await import(pathToFileURL(module))
const broker = await Aedes.createBroker()

if (user !== undefined) {
  broker.authenticate = (client, name, given, done) => {
    if (name === user && String(given) === password) {
      done(null, true)
    } else {
      done(Object.assign(new Error('wrong user name or password'), { returnCode: 4 }), false)
    }
  }
}

for (const event of ['clientError', 'connectionError']) {
  broker.on(event, (client, error) => console.error(`${event} ${client.id}: ${error.message}`))
}

const server = createServer({ noDelay: true }, broker.handle)
server.listen(Number(port), '127.0.0.1', () => console.error('aedes is running'))
process.once('SIGTERM', () => broker.close(() => process.exit(0)))
