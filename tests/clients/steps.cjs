'use strict';

// One JSON line a step: what a call of a client came to, for the test that started the driver.

async function step(name, call) {
    const line = { step: name };
    let value;
    try {
        value = await call();
        line.value = value === undefined ? null : value;
    } catch (error) {
        line.error = { message: error.message, code: error.code, name: error.name };
    }
    process.stdout.write(`${JSON.stringify(line)}\n`);
    return value;
}

// Ask again until an answer is as wanted. What is thrown on the way counts as not yet.
async function until(what, call, isWanted) {
    const deadline = Date.now() + 30000;
    for (;;) {
        const value = await call().catch(() => undefined);
        if (value !== undefined && isWanted(value)) return value;
        if (Date.now() > deadline) throw new Error(`not within 30 s: ${what}; last seen ${JSON.stringify(value)}`);
        await new Promise((resolve) => { setTimeout(resolve, 50); });
    }
}

const endless = (name) => ({
    name,
    lifecycle: 'persistent',
    workers: 1,
    slicers: 1,
    operations: [{ _op: 'data_generator', size: 5 }, { _op: 'delay', ms: 20 }],
});

const failing = (name) => ({
    name,
    lifecycle: 'once',
    workers: 1,
    max_retries: 0,
    operations: [{ _op: 'count', size: 10 }, { _op: 'raiser', at: [2, 5] }],
});

const short = (name) => ({
    name,
    lifecycle: 'once',
    workers: 1,
    operations: [{ _op: 'count', size: 10 }, { _op: 'noop' }],
});

module.exports = { step, until, endless, failing, short };
