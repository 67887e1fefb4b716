// Requests in the form that the newest client gives them, over the HTTP library that it uses.

import got, { HTTPError } from 'got';

const http = got.extend({
    prefixUrl: process.argv[2],
    headers: { 'user-agent': 'Teraslice Client', accept: 'application/json' },
    throwHttpErrors: true,
    retry: { limit: 3, methods: ['GET', 'PUT', 'DELETE'] },
});

// An `error` of the body that is text is the message, a number is the code.
async function told(request) {
    try {
        return await request;
    } catch (error) {
        if (!(error instanceof HTTPError)) throw error;
        const { body: sent, statusCode } = error.response;
        const body = typeof sent === 'string' ? JSON.parse(sent) : sent;
        throw Object.assign(new Error(typeof body.error === 'string' ? body.error : body.message), {
            code: typeof body.error === 'string' ? statusCode : body.error,
        });
    }
}

export const ask = (method, path, options) => told(http(`v1/${path}`, { method, ...options }).json());
export const askText = (method, path, options) => told(http(`v1/${path}`, { method, ...options }).text());
export const get = (path, searchParams) => ask('GET', path, { searchParams });
export const post = (path, searchParams) => ask('POST', path, { searchParams, headers: { 'content-length': '0' } });
export const table = (name) => told(http(`txt/${name}`).text());
